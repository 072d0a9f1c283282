/**
 * Everything but ONNX Runtime itself and the reading of folders, for those who bring their own: a
 * page without a bundler, say.
 */
export { Adaptation } from "./adaptation.js";
export { parseCard } from "./card.js";
export { decode } from "./decode.js";
export { BadAudio, BadModel, LightserError } from "./errors.js";
export { loadGate, SpeechGate } from "./gate.js";
export { listen } from "./listen.js";
export { Microphone } from "./microphone.js";
export { open, Recognizer } from "./recognizer.js";
export { resample, resampleInTurns, Resampler } from "./resampler.js";
export { toMono } from "./samples.js";
export { Smoother } from "./smoothing.js";
export { Stream } from "./stream.js";
export { decodeWav } from "./wav.js";

/** @typedef {import("./card.js").Card} Card */
/** @typedef {import("./recognizer.js").Cut} Cut */
/** @typedef {import("./gate.js").Gating} Gating */
/** @typedef {import("./recognizer.js").Prediction} Prediction */
/** @typedef {import("./recognizer.js").Segment} Segment */
/** @typedef {import("./smoothing.js").Smoothing} Smoothing */
/** @typedef {import("./samples.js").Clip} Clip */
