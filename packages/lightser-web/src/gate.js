import { LightserError } from "./errors.js";
import { compileFvad } from "./fvad.js";
import { joined } from "./resampler.js";
import { round } from "./rounding.js";

const FRAME_S = 0.03;
const RATES = [8_000, 16_000, 32_000, 48_000]; // that the detector takes, in hertz

// Automatic gain, for the detector alone: the loudest of what was heard is brought up to LOUD, full
// scale being 1; what never exceeds FAINT no further. Of the loudest, FORGETS remains after a frame.
const LOUD = 0.05;
const FAINT = 0.0002;
const FORGETS = 0.9966;

/**
 * When a stretch of audio counts as speech. The defaults are lightser's own, chosen on joined
 * recordings.
 *
 * @typedef {object} Gating
 * @property {number} [strictness] of the detector, from 0 (in doubt, speech) to 3 (in doubt,
 *   noise); 2 by default
 * @property {number} [hangoverS] seconds that count as speech after the detector's last one; 0.1
 *   by default
 * @property {number} [least] share of a window that must be speech; below it, the window is
 *   silence; 0.5 by default
 */

/**
 * Get the gate by which streams tell speech from silence: that of Python's, with WebRTC's detector.
 * One gate may serve several streams.
 *
 *     const gate = await loadGate();
 *     for await (const segment of listen(recognizer, { gate })) …
 *
 * @param {Gating} [gating]
 * @returns {Promise<SpeechGate>}
 * @throws {LightserError} a value out of range
 */
export async function loadGate(gating) {
  return new SpeechGate(await compileFvad(), gating);
}

/** Whether somebody speaks, decided by WebRTC's detector with hangover. Get one with `loadGate`. */
export class SpeechGate {
  /**
   * @param {import("./fvad.js").Fvad} fvad
   * @param {Gating} [gating]
   * @throws {LightserError} a value out of range
   */
  constructor(fvad, { strictness = 2, hangoverS = 0.1, least = 0.5 } = {}) {
    if (![0, 1, 2, 3].includes(strictness)) {
      throw new LightserError(`A strictness of ${strictness}; give 0, 1, 2 or 3.`);
    }
    if (!(Number.isFinite(hangoverS) && hangoverS >= 0)) {
      throw new LightserError(`A hangover of ${hangoverS} s; give 0 or more.`);
    }
    if (!(least > 0 && least <= 1)) {
      throw new LightserError(`A least share of speech of ${least}; give above 0, up to 1.`);
    }
    this.fvad = fvad;
    this.strictness = strictness;
    this.hangoverS = hangoverS;
    this.least = least;
  }
}

// The detector's memory is not JavaScript's, and does not go by itself.
const forgotten = new FinalizationRegistry(
  (/** @type {{fvad: import("./fvad.js").Fvad, detector: number}} */ { fvad, detector }) => {
    fvad.free(detector);
  },
);

/**
 * Tell where in one recording somebody speaks. What it says of a frame depends on the audio up to
 * that frame alone, so chunks of any size give the same. Times are samples of the recording.
 */
export class SpeechDetector {
  #fvad;
  #length; // of a frame, in samples
  #rate; // that the detector is given
  #detector;
  #loudest = FAINT;
  #hangover; // frames
  #since; // frames since the last one with speech
  #rest = new Float32Array(0); // less than a frame
  /** @type {boolean[]} */
  #flags = [];
  #first = 0; // frame that `#flags` begins with

  /**
   * @param {SpeechGate} gate
   * @param {number} sampleRate hertz
   */
  constructor({ fvad, strictness, hangoverS }, sampleRate) {
    this.#fvad = fvad;
    this.#length = round(FRAME_S * sampleRate);
    this.#rate = RATES.includes(sampleRate) ? sampleRate : 16_000;
    this.#hangover = round(hangoverS / FRAME_S);
    this.#since = this.#hangover + 1;
    const detector = (this.#detector = fvad.create());
    if (detector === 0) {
      throw new LightserError("One gate serves some thousand streams at once; load another.");
    }
    fvad.setMode(detector, strictness);
    fvad.setSampleRate(detector, this.#rate);
    forgotten.register(this, { fvad, detector });
  }

  /**
   * Take the next samples.
   *
   * @param {Float32Array} wave
   */
  hear(wave) {
    const held = joined([this.#rest, wave]);
    let at = 0;
    for (; at + this.#length <= held.length; at += this.#length) {
      const isSpeech = this.#isSpeech(held.subarray(at, at + this.#length));
      this.#since = isSpeech ? 0 : this.#since + 1;
      this.#flags.push(this.#since <= this.#hangover);
    }
    this.#rest = held.slice(at);
  }

  /** @param {Float32Array} frame */
  #isSpeech(frame) {
    const length = round(FRAME_S * this.#rate);
    // The bands of the detector end at 4 kHz, so straight lines between samples will do.
    const samples = length === frame.length ? frame : stretched(frame, length);
    let peak = 0;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    this.#loudest = Math.max(peak, this.#loudest * FORGETS, FAINT);
    const scale = Math.max(LOUD / this.#loudest, 1) * 2 ** 15;
    const { process, memory, frame: address } = this.#fvad;
    const pcm = new Int16Array(memory.buffer, address, length);
    for (let i = 0; i < length; i++) {
      pcm[i] = Math.max(-(2 ** 15), Math.min(2 ** 15 - 1, samples[i] * scale));
    }
    return process(this.#detector, address, length) === 1;
  }

  /**
   * Return how much of the samples from `start` to `end` is speech, from 0 to 1.
   *
   * @param {number} start
   * @param {number} end
   */
  share(start, end) {
    const from = Math.ceil(start / this.#length) - this.#first;
    const to = Math.floor(end / this.#length) - this.#first;
    const flags = this.#flags.slice(Math.max(from, 0), Math.max(to, 0));
    return flags.length ? flags.filter(Boolean).length / flags.length : 0;
  }

  /**
   * Drop what is known of samples before `before`.
   *
   * @param {number} before
   */
  forget(before) {
    const n = Math.floor(before / this.#length) - this.#first;
    if (n <= 0) return;
    this.#flags.splice(0, n);
    this.#first += n;
  }
}

/**
 * @param {Float32Array} frame
 * @param {number} length
 */
function stretched(frame, length) {
  const last = frame.length - 1;
  return Float32Array.from({ length }, (_, i) => {
    const at = i * (frame.length / length);
    const before = Math.min(Math.floor(at), last);
    const after = Math.min(before + 1, last);
    return frame[before] + (frame[after] - frame[before]) * (at - before);
  });
}
