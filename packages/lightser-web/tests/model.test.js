// Model folders, good and bad, and what is no audio.
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import {
  BadAudio,
  BadModel,
  LightserError,
  load,
  loadGate,
  Recognizer,
  SpeechGate,
  Stream,
} from "../src/index.js";

const MODEL = fileURLToPath(
  new URL("../../../lightser/inference/weights/emodb-light_sernet", import.meta.url),
);
const recognizer = await load(MODEL);
const noise = (n) => Float32Array.from({ length: n }, () => 0.2 * (Math.random() - 0.5));

/** A copy of the model folder, in which something is changed. */
async function changed(t, change) {
  const folder = await mkdtemp(join(tmpdir(), "lightser-"));
  t.after(() => rm(folder, { recursive: true }));
  await cp(MODEL, folder, { recursive: true });
  await change(folder);
  return folder;
}

async function changedCard(t, change) {
  return changed(t, async (folder) => {
    const card = JSON.parse(await readFile(join(folder, "card.json"), "utf-8"));
    change(card);
    await writeFile(join(folder, "card.json"), JSON.stringify(card));
  });
}

test("a folder is opened by path, by file address, by its model, and over HTTP", async (t) => {
  const server = createServer(async (request, response) => {
    response.end(await readFile(join(MODEL, request.url.slice("/m/".length))));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const online = `http://127.0.0.1:${server.address().port}/m`;
  const samples = noise(16_000);
  const expected = await recognizer.predict(samples, 16_000);
  for (const place of [pathToFileURL(MODEL), join(MODEL, "model.onnx"), online]) {
    const other = await load(place);
    assert.deepEqual(other.labels, recognizer.card.labels);
    assert.deepEqual(await other.predict(samples, 16_000), expected);
    await other.release();
  }
});

test("questions asked at once are answered one by one", async () => {
  const clips = [noise(16_000), noise(40_000), noise(50_000)];
  const together = await Promise.all(clips.map((clip) => recognizer.predict(clip, 16_000)));
  for (const [i, clip] of clips.entries()) {
    assert.deepEqual(together[i], await recognizer.predict(clip, 16_000));
  }
});

test("of some labels each has its share of what is left for them", async (t) => {
  const samples = noise(40_000); // one window
  const all = (await recognizer.predict(samples, 16_000)).probabilities;
  const some = await load(MODEL, { labels: ["sadness", "anger"] });
  t.after(() => some.release());
  for (const chosen of [some, recognizer.choosing(new Set(["anger", "sadness"]))]) {
    assert.deepEqual(chosen.labels, ["anger", "sadness"]);
    const { label, confidence, probabilities } = await chosen.predict(samples, 16_000);
    assert.deepEqual(Object.keys(probabilities), ["anger", "sadness"]);
    for (const name of chosen.labels) {
      assert.ok(Math.abs(probabilities[name] - all[name] / (all.anger + all.sadness)) < 1e-12);
    }
    assert.equal(confidence, probabilities[label]);
    for await (const { probabilities: p } of chosen.segments(samples, 16_000, { hopS: 1 })) {
      assert.ok(Math.abs(p.anger + p.sadness - 1) < 1e-12);
    }
  }
  assert.equal(recognizer.labels.length, 7);
  for (const labels of [["anger", "joy"], ["anger"], []]) {
    assert.throws(() => recognizer.choosing(labels), LightserError);
  }
});

test("a model that was changed is refused", async (t) => {
  const swapped = await changed(t, async (folder) => {
    const bytes = await readFile(join(folder, "model.onnx"));
    bytes[bytes.length >> 1] ^= 1;
    await writeFile(join(folder, "model.onnx"), bytes);
  });
  await assert.rejects(load(swapped), /changed since its card was written: SHA-256/);
  const cut = await changed(t, async (folder) => {
    const bytes = await readFile(join(folder, "model.onnx"));
    await writeFile(join(folder, "model.onnx"), bytes.subarray(0, 1000));
  });
  await assert.rejects(load(cut), /has 1000 bytes, its card says/);
  await assert.rejects(load(cut, { verify: false }), /cannot be opened by ONNX Runtime/);
});

test("cards that do not fit are refused in words", async (t) => {
  const refusals = /** @type {const} */ ([
    [(card) => (card.format = 2), /has format 2; this version reads 1/],
    [(card) => delete card.files["model.onnx"], /'model\.onnx' is missing/],
    [(card) => (card.labels = ["anger"]), /expected two texts or more/],
    [(card) => (card.labels = 5), /expected two texts or more/],
    [(card) => (card.labels = {}), /expected two texts or more/],
    [(card) => (card.labels[1] = card.labels[0]), /one is there twice/],
    [(card) => card.labels.pop(), /gives 7 probabilities; its card has 6 labels/],
    [(card) => (card.sample_rate = 1), /expected 4000 to 192000, got 1/],
    [(card) => (card.window_s = 1), /window_s: 1 is shorter than min_s/],
  ]);
  for (const [change, reason] of refusals) {
    await assert.rejects(load(await changedCard(t, change)), (error) => {
      assert.ok(error instanceof BadModel);
      assert.match(error.message, reason);
      return true;
    });
  }
  const none = await changed(t, (folder) => writeFile(join(folder, "card.json"), "{"));
  await assert.rejects(load(none), /card\.json cannot be read/);
  await assert.rejects(load("/no/such/folder"), /There is no model folder '\/no\/such\/folder'/);
  await assert.rejects(load(join(MODEL, "..")), /card\.json' cannot be read \(ENOENT\)/);
  await assert.rejects(load("http://127.0.0.1:9/"), /cannot be fetched/);
});

test("what is no audio is refused", async () => {
  const bad = [
    [new Float32Array(16_000), /Silent throughout/],
    [noise(1_599), /at least 0\.1 s are needed/],
    [noise(16_000).fill(NaN, 7, 8), /NaN or infinity/],
    [noise(16_000).map((x) => x * 32_768), /full scale is 1/],
    [new Float64Array(16_000), /Float32Array/],
  ];
  for (const [samples, reason] of bad) {
    await assert.rejects(recognizer.predict(samples, 16_000), (error) => {
      assert.ok(error instanceof BadAudio);
      assert.match(error.message, reason);
      return true;
    });
  }
  await assert.rejects(recognizer.predict(noise(16_000), 100), /Sample rate 100 Hz/);
});

test("a stream survives what it refuses", async () => {
  const stream = new Stream(recognizer, { hopS: 3 });
  await assert.rejects(stream.push(Float32Array.of(Infinity)), BadAudio);
  const samples = noise(48_000);
  const [segment] = await stream.push(samples);
  const { label, probabilities } = await recognizer.predict(samples, 16_000);
  assert.deepEqual([segment.label, segment.probabilities], [label, probabilities]);
  assert.deepEqual(await stream.flush(), []);
});

test("a gate calls silence what nobody speaks in, and does not ask the model", async () => {
  const gate = await loadGate();
  const stream = new Stream(recognizer, { windowS: 1, hopS: 1, gate });
  const hum = Float32Array.from({ length: 16_000 }, (_, i) => (i % 2) / 2 ** 14);
  const silence = { label: "silence", confidence: 1, probabilities: {} };
  assert.deepEqual(await stream.push(hum), [{ start: 0, end: 1, ...silence }]);
  const always = new Stream(recognizer, { windowS: 1, hopS: 1 });
  assert.notEqual((await always.push(hum))[0].label, "silence");
});

test("where nothing sounds is silence without a gate", async () => {
  const stream = new Stream(recognizer, { windowS: 1, hopS: 1 });
  const silence = { label: "silence", confidence: 1, probabilities: {} };
  for (const [i, level] of [0, 0.25].entries()) {
    const still = new Float32Array(16_000).fill(level);
    assert.deepEqual(await stream.push(still), [{ start: i, end: i + 1, ...silence }]);
  }
  assert.notEqual((await stream.push(noise(16_000)))[0].label, "silence");
});

test("gates that are none are refused", async () => {
  for (const gating of [{ strictness: 4 }, { hangoverS: -1 }, { hangoverS: NaN }, { least: 0 }]) {
    await assert.rejects(loadGate(gating), LightserError);
  }
  for (const gate of [true, {}, loadGate()]) {
    assert.throws(() => new Stream(recognizer, { gate }), /what loadGate\(\) gives/);
  }
  assert.ok((await loadGate({ strictness: 0, hangoverS: 0, least: 1 })) instanceof SpeechGate);
});

test("windows that do not fit are refused", () => {
  for (const cut of [{ windowS: 0.05 }, { hopS: 4 }, { hopS: 0 }, { windowS: NaN }]) {
    assert.throws(() => new Stream(recognizer, cut), LightserError);
  }
});

test("a model is released after it has failed, too", async () => {
  let released = 0;
  const tensor = { isTensor: true, type: "float32" };
  const session = {
    inputNames: ["samples"],
    inputMetadata: [{ ...tensor, shape: ["batch", "time"] }],
    outputNames: ["probabilities"],
    outputMetadata: [{ ...tensor, shape: ["batch", 2] }],
    run: async () => {
      throw new Error("out of memory");
    },
    release: async () => void released++,
  };
  const card = { name: "m", labels: ["a", "b"], sample_rate: 16_000, window_s: 3, min_s: 1 };
  const failing = new Recognizer(card, session, { Tensor: class {} });
  await assert.rejects(failing.predict(noise(16_000), 16_000), /out of memory/);
  await failing.release();
  assert.equal(released, 1);
});
