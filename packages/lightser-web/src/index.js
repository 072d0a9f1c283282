/**
 * Speech emotion recognition in the browser and in Node.js.
 *
 *     const recognizer = await load("/models/emodb-light_sernet/");
 *     const { label, confidence } = await recognizer.predict(samples, 48000);
 */
import * as ort from "onnxruntime-web/wasm";

import { readerOf } from "#folder";
import { open } from "./recognizer.js";

export * from "./core.js";
/** @typedef {import("./card.js").Card} Card */
/** @typedef {import("./recognizer.js").Cut} Cut */
/** @typedef {import("./gate.js").Gating} Gating */
/** @typedef {import("./recognizer.js").Prediction} Prediction */
/** @typedef {import("./recognizer.js").Segment} Segment */
/** @typedef {import("./smoothing.js").Smoothing} Smoothing */
/** @typedef {import("./samples.js").Clip} Clip */

/**
 * Open a model folder: one with `card.json` and `model.onnx`.
 *
 * @param {string | URL} model address of the folder, or of the model in it; in Node.js also a path
 * @param {object} [options]
 * @param {boolean} [options.verify] whether to check the model against the SHA-256 of its card;
 *   true by default
 * @param {Iterable<string>} [options.labels] the emotions to choose from, if not all that the model
 *   knows; see `choosing`
 * @param {RequestInit} [options.request] how to fetch: headers, credentials, an abort signal
 * @param {string} [options.wasm] address of the folder that holds ONNX Runtime's `.wasm` file, if
 *   the bundler does not place it
 * @returns {Promise<import("./recognizer.js").Recognizer>}
 * @throws {import("./errors.js").BadModel} the folder is incomplete or changed, or is no model
 *   folder
 * @throws {import("./errors.js").LightserError} the model has no such label, or fewer than two are
 *   left
 */
export async function load(model, { verify = true, labels, request, wasm } = {}) {
  ort.env.wasm.numThreads = 1; // more need a page that is isolated, and gain little at this size
  if (wasm !== undefined) ort.env.wasm.wasmPaths = wasm;
  return open(readerOf(model, request), { ort, verify, labels });
}
