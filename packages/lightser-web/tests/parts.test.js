// What can be said of the parts without a model.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { rateOf } from "../src/decode.js";
import { SpeechDetector } from "../src/gate.js";
import {
  BadAudio,
  decodeWav,
  LightserError,
  loadGate,
  resample,
  resampleInTurns,
  Resampler,
  Smoother,
  toMono,
} from "../src/index.js";
import { fvadModule } from "../scripts/fvad.js";
import { round } from "../src/rounding.js";
import { sha256InScript } from "../src/sha256.js";
import { padTo, windowStarts } from "../src/windows.js";

const tone = (hertz, rate, n) =>
  Float32Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / rate));

test("halves are rounded to the even number", () => {
  assert.deepEqual([0.5, 1.5, 2.5, -1.5, 2.4999, 7].map(round), [0, 2, 2, -2, 2, 7]);
});

test("windows cover a clip from its first sample to its last", () => {
  assert.deepEqual(windowStarts(48_000, 48_000), [0]);
  assert.deepEqual(windowStarts(48_001, 48_000), [0, 1]);
  assert.deepEqual(windowStarts(100, 40), [0, 30, 60]);
});

test("a short clip is padded on both sides, the odd zero at the end", () => {
  assert.deepEqual([...padTo(Float32Array.of(1, 1), 5)], [0, 1, 1, 0, 0]);
});

test("the voice activity detector is that of its package", async () => {
  const written = await readFile(new URL("../src/fvad-wasm.js", import.meta.url), "utf-8");
  assert.equal(written, await fvadModule());
});

test("a gate serves many streams, and says where it ends", async () => {
  const gate = await loadGate();
  const detectors = [];
  const open = () => detectors.push(new SpeechDetector(gate, 16_000));
  for (let i = 0; i < 1000; i++) open();
  assert.throws(() => {
    for (;;) open();
  }, /load another/);
});

test("SHA-256 in script is SHA-256", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 100_000]) {
    const bytes = randomBytes(length);
    assert.equal(sha256InScript(bytes), createHash("sha256").update(bytes).digest("hex"));
  }
});

test("a tone below both Nyquist frequencies survives resampling", () => {
  for (const [from, to] of [[48_000, 16_000], [44_100, 16_000], [8_000, 16_000], [47_999, 16_000]]) {
    const found = resample(tone(440, from, from), from, to);
    assert.equal(found.length, to);
    const expected = tone(440, to, to);
    for (let i = 1000; i < to - 1000; i++) assert.ok(Math.abs(found[i] - expected[i]) < 1e-5);
  }
});

test("a tone above the new Nyquist frequency does not", () => {
  const found = resample(tone(9_000, 48_000, 48_000), 48_000, 16_000);
  assert.ok(found.subarray(1000, 15_000).every((value) => Math.abs(value) < 1e-7));
});

test("chunks are resampled as the whole is, to the last bit", () => {
  const samples = Float32Array.from({ length: 20_000 }, () => Math.random() - 0.5);
  for (const [from, to] of [[48_000, 16_000], [44_100, 16_000], [11_025, 16_000], [16_000, 16_000]]) {
    const resampler = new Resampler(from, to);
    const found = [];
    for (let at = 0; at < samples.length; ) {
      const size = Math.floor(Math.random() * 3000);
      found.push(...resampler.push(samples.subarray(at, at + size)));
      at += size;
    }
    found.push(...resampler.flush());
    assert.deepEqual(Float32Array.from(found), resample(samples, from, to));
  }
});

test("the event loop turns while a recording is resampled, and the result is the same", async () => {
  const samples = Float32Array.from({ length: 10 * 44_100 }, () => Math.random() - 0.5);
  let turns = 0;
  const ticking = setInterval(() => turns++, 0);
  const found = await resampleInTurns(samples, 44_100, 16_000);
  clearInterval(ticking);
  assert.ok(turns >= 5, `${turns} turns in ten seconds of audio`);
  assert.deepEqual(found, resample(samples, 44_100, 16_000));
});

test("rates that no recording has are refused", () => {
  for (const rate of [0, 3999, 192_001, 16_000.5, NaN, "16000"]) {
    assert.throws(() => new Resampler(rate, 16_000), BadAudio);
  }
});

test("a label stays until another is ahead by the margin", () => {
  const smoother = new Smoother({ timeS: 0, margin: 0.2 });
  const windows = [[0.6, 0.4], [0.45, 0.55], [0.3, 0.7]];
  assert.deepEqual(windows.map((p, t) => smoother.add(p, t).label), [0, 0, 1]);
  assert.throws(() => new Smoother({ margin: 1 }), LightserError);
  assert.throws(() => new Smoother({ timeS: -1 }), LightserError);
});

function wav({ format = 1, channels = 1, rate = 16_000, bits = 16, aligned, write, frames }) {
  const size = (frames * channels * bits) / 8;
  const view = new DataView(new ArrayBuffer(44 + size));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, format, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint16(32, aligned ?? (channels * bits) / 8, true);
  view.setUint16(34, bits, true);
  text(36, "data");
  view.setUint32(40, size, true);
  write(view);
  return view.buffer;
}

test("a WAV is read exactly, and its channels are averaged", () => {
  const write = (view) => [-32_768, 0, 16_384, 0].forEach((v, i) => view.setInt16(44 + 2 * i, v, true));
  const file = wav({ channels: 2, rate: 8_000, frames: 2, write });
  assert.deepEqual(decodeWav(file), {
    samples: Float32Array.of(-0.5, 0.25),
    rate: 8_000,
    warnings: [],
  });
  assert.equal(rateOf(file), 8_000);
});

test("channels that cancel each other give way to the loudest from there on", () => {
  for (const [switched, found] of [[0, 0], [16_000, 23_200]]) { // a second is remembered
    const voice = tone(440, 8_000, 40_000);
    const same = voice.map((value, i) => (i < switched ? value : -0.9 * value));
    const { samples, warnings } = toMono([same, voice], 8_000);
    const expected = voice.map((value, i) => (i < found ? (value + same[i]) / 2 : value));
    assert.deepEqual(samples, expected);
    assert.deepEqual(warnings, [
      `Its 2 channels cancel each other from about ${(found / 8_000).toFixed(1)} s; only channel 2, ` +
        "the loudest, is kept from there on.",
    ]);
  }
});

test("channels that are silent, or strangers to each other, are averaged without a word", () => {
  const noise = () => Float32Array.from({ length: 9_000 }, () => Math.random() - 0.5);
  const quiet = noise().map((value) => value * 2 ** -16);
  for (const pair of [[quiet, quiet.map((value) => -value)], [noise(), noise()]]) {
    const { samples, warnings } = toMono(pair, 8_000);
    assert.deepEqual(samples, pair[0].map((value, i) => (value + pair[1][i]) / 2));
    assert.deepEqual(warnings, []);
  }
});

test("24 bits keep their sign", () => {
  const write = (view) => [0xff, 0xff, 0xff, 0, 0, 0x40].forEach((v, i) => view.setUint8(44 + i, v));
  const { samples } = decodeWav(wav({ bits: 24, frames: 2, write }));
  assert.deepEqual(samples, Float32Array.of(-(2 ** -23), 0.5));
});

test("damaged and unknown WAVs are refused in words", () => {
  assert.throws(() => decodeWav(new ArrayBuffer(3)), BadAudio);
  assert.throws(() => decodeWav(wav({ format: 2, frames: 0, write() {} })), /format 2 with 16 bits/);
  assert.throws(() => decodeWav(wav({ frames: 0, write() {} }).slice(0, 36)), /without samples/);
  const wide = wav({ bits: 24, aligned: 4, frames: 8, write() {} });
  assert.throws(() => decodeWav(wide), /24 bits in frames of 4 bytes/);
});
