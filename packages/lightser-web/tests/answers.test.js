// The same answers as Python's, for the clips and answers that tests/test_web.py writes down.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { SpeechDetector } from "../src/gate.js";
import { decodeWav, load, loadGate, Stream } from "../src/index.js";
import { round } from "../src/rounding.js";

const TOLERANCE = 1e-4;
const path = process.env.LIGHTSER_ANSWERS;
const cases = path ? JSON.parse(await readFile(path, "utf-8")) : null;
const skip = cases ? false : "runs from tests/test_web.py, which knows Python's answers";

async function clipOf({ file }) {
  const bytes = await readFile(file);
  return decodeWav(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function assertAlike(found, expected) {
  assert.deepEqual(Object.keys(found), Object.keys(expected));
  for (const [label, probability] of Object.entries(expected)) {
    const off = Math.abs(found[label] - probability);
    assert.ok(off < TOLERANCE, `${label}: ${found[label]}, Python says ${probability}`);
  }
}

/** How to cut, with what JSON cannot hold. */
const cutOf = async ({ gate, ...cut }) => (gate ? { ...cut, gate: await loadGate(gate) } : cut);

function assertSegments(found, expected) {
  assert.deepEqual(
    found.map(({ start, end, label }) => [start, end, label]),
    expected.map(({ start, end, label }) => [start, end, label]),
  );
  found.forEach((segment, i) => assertAlike(segment.probabilities, expected[i].probabilities));
  for (const [i, { label, confidence }] of expected.entries()) {
    if (label === "silence") assert.equal(found[i].confidence, confidence);
  }
}

test("a clip is answered as in Python", { skip }, async (t) => {
  const largest = {}; // difference at each rate
  for (const [model, clips] of Object.entries(cases.predictions)) {
    const recognizer = await load(model);
    for (const expected of clips) {
      const { samples, rate } = await clipOf(expected);
      const found = await recognizer.predict(samples, rate);
      assertAlike(found.probabilities, expected.probabilities);
      for (const [label, probability] of Object.entries(expected.probabilities)) {
        const off = Math.abs(found.probabilities[label] - probability);
        largest[rate] = Math.max(largest[rate] ?? 0, off);
      }
      assert.equal(found.label, expected.label);
      assert.equal(found.windows, expected.windows);
      assert.equal(found.durationS, expected.duration_s);
    }
    await recognizer.release();
  }
  for (const [rate, off] of Object.entries(largest)) {
    t.diagnostic(`${rate} Hz: ${off.toExponential(0)} at most`);
  }
});

test("segments are those of Python, smoothed and gated", { skip }, async () => {
  const recognizer = await load(cases.streams[0].model);
  for (const { cut, segments, ...clip } of cases.streams) {
    const { samples, rate } = await clipOf(clip);
    const found = [];
    for await (const segment of recognizer.segments(samples, rate, await cutOf(cut))) {
      found.push(segment);
    }
    assertSegments(found, segments);
  }
});

test("a stream in chunks of any size gives the segments of the whole", { skip }, async () => {
  const recognizer = await load(cases.streams[0].model);
  const { cut, segments, ...clip } = cases.streams.at(-1);
  const { samples, rate } = await clipOf(clip);
  const stream = new Stream(recognizer, { ...(await cutOf(cut)), sampleRate: rate });
  for (let recording = 0; recording < 2; recording++) {
    const found = [];
    for (let at = 0, size = 1; at < samples.length; at += size, size = (size * 7) % 9973) {
      found.push(...(await stream.push(samples.subarray(at, at + size))));
    }
    found.push(...(await stream.flush()));
    assertSegments(found, segments);
  }
});

test("somebody speaks where Python says so, at any rate", { skip }, async () => {
  for (const { gating, shares, ...clip } of cases.gates) {
    const { samples, rate } = await clipOf(clip);
    const detector = new SpeechDetector(await loadGate(gating), rate);
    for (let at = 0, size = 1; at < samples.length; at += size, size = (size * 7) % 9973) {
      detector.hear(samples.subarray(at, at + size));
    }
    const time = (tenths) => round((tenths * rate) / 10);
    const found = shares.map((_, i) => detector.share(time(i), time(i + 1)));
    assert.deepEqual(found, shares);
  }
});

test("a voice is adapted to as in Python", { skip }, async () => {
  const { model, heard, state, segments, count, probabilities, ...clip } = cases.voice;
  const recognizer = await load(model);
  const adaptation = recognizer.adaptation();
  for (const file of heard) {
    const { samples, rate } = await clipOf({ file });
    await recognizer.adapt(samples, rate, adaptation);
  }
  const { mean, m2, ...kept } = JSON.parse(JSON.stringify(adaptation));
  assert.deepEqual(kept, { format: state.format, model: state.model, count: state.count });
  mean.forEach((value, i) => assert.ok(Math.abs(value - state.mean[i]) < 1e-3));
  m2.forEach((value, i) => assert.ok(Math.abs(value - state.m2[i]) < 1e-2 * (1 + state.m2[i])));

  const { samples, rate } = await clipOf(clip);
  const before = recognizer.adaptation(state); // as Python kept it
  assertAlike((await recognizer.adapted(before).predict(samples, rate)).probabilities, probabilities);
  const found = [];
  for await (const segment of recognizer.segments(samples, rate, { hopS: 0.75, adaptation: before })) {
    found.push(segment);
  }
  assertSegments(found, segments);
  assert.equal(before.count, count);
  const fewer = recognizer.choosing(["anger", "sadness"]).adapted(before);
  const answer = await fewer.predict(samples, rate);
  assert.deepEqual(Object.keys(answer.probabilities), ["anger", "sadness"]);

  for (const wrong of [{}, null, { ...state, format: 2 }, { ...state, count: -1 }, { ...state, mean: [] }]) {
    assert.throws(() => recognizer.adaptation(wrong), /adaptation/);
  }
  const other = { ...state, model: "0".repeat(64) };
  assert.throws(() => recognizer.adaptation(other), /of another model than/);
  await recognizer.release();
});
