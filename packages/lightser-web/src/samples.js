import { BadAudio } from "./errors.js";
import { round } from "./rounding.js";

export const MIN_SECONDS = 0.1;
const SILENCE = 2 ** -16; // half a step of 16 bits
// What cancels is decided in steps, by what was heard in the last second; the first step is as long.
const STEP_S = 0.1;
const MEMORY_S = 1;
const LARGEST = 16; // full scale is 1; what is this far off are integers in disguise

/**
 * Refuse what is no audio.
 *
 * @param {Float32Array} samples
 * @throws {BadAudio}
 */
export function checkSamples(samples) {
  if (!(samples instanceof Float32Array)) {
    throw new BadAudio("Samples must be a Float32Array, mono, with full scale 1.");
  }
  let largest = 0;
  for (const value of samples) {
    if (!Number.isFinite(value)) throw new BadAudio("The samples hold NaN or infinity.");
    largest = Math.max(largest, Math.abs(value));
  }
  if (largest > LARGEST) {
    throw new BadAudio(
      `Samples reach ${largest}, and full scale is 1; divide them by the full scale of where ` +
        "they came from (32768 for 16 bits).",
    );
  }
}

/**
 * Return whether samples are silent throughout: constant but for half a 16-bit step.
 *
 * @param {Float32Array} samples
 */
export function isSilent(samples) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of samples) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return (high - low) / 2 < SILENCE;
}

/**
 * Decoded audio.
 *
 * @typedef {object} Clip
 * @property {Float32Array} samples mono, full scale 1
 * @property {number} rate hertz
 * @property {string[]} warnings what a listener should know of it
 */

/**
 * Return the mean of channels. Where they cancel each other (one was wired the wrong way round, so
 * that the mean is near silence), the loudest is kept from there on, with a warning.
 *
 * @param {Float32Array[]} channels of equal length
 * @param {number} rate hertz
 * @returns {Clip}
 */
export function toMono(channels, rate) {
  if (channels.length === 1) return { samples: channels[0], rate, warnings: [] };
  const samples = new Float32Array(channels[0].length);
  const step = Math.max(round(STEP_S * rate), 1);
  /** @type {Step[]} */
  const steps = []; // that are remembered
  for (let at = 0, end = Math.max(round(MEMORY_S * rate), 1); at < samples.length; ) {
    const chunk = channels.map((channel) => channel.subarray(at, end));
    steps.push(mix(chunk, samples.subarray(at, end)));
    steps.splice(0, steps.length - round(MEMORY_S / STEP_S));
    const kept = loudestOfCancelling(steps);
    if (kept !== null) {
      samples.set(channels[kept].subarray(at), at);
      const warning =
        `Its ${channels.length} channels cancel each other from about ${(at / rate).toFixed(1)} s; ` +
        `only channel ${kept + 1}, the loudest, is kept from there on.`;
      return { samples, rate, warnings: [warning] };
    }
    [at, end] = [end, end + step];
  }
  return { samples, rate, warnings: [] };
}

/**
 * A step of a recording: how many samples, and the energies of their mean and of each channel.
 *
 * @typedef {{n: number, ofMean: number, ofEach: number[]}} Step
 */

/**
 * Write the mean of channels.
 *
 * @param {Float32Array[]} channels
 * @param {Float32Array} mixed
 * @returns {Step}
 */
function mix(channels, mixed) {
  const ofEach = channels.map(() => 0);
  let ofMean = 0;
  for (let i = 0; i < mixed.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels.length; c++) {
      const value = channels[c][i];
      sum += value;
      ofEach[c] += value * value;
    }
    const mean = sum / channels.length;
    ofMean += mean * mean;
    mixed[i] = mean;
  }
  return { n: mixed.length, ofMean, ofEach };
}

/** @param {Step[]} steps */
function loudestOfCancelling(steps) {
  const total = (/** @type {(step: Step) => number} */ of) =>
    steps.reduce((sum, step) => sum + of(step), 0);
  const energies = steps[0].ofEach.map((_, c) => total((step) => step.ofEach[c]));
  const loudest = Math.max(...energies);
  const average = energies.reduce((a, b) => a + b) / energies.length;
  // Channels that have nothing in common keep 1/C of their power in the mean.
  const isAudible = loudest / total((step) => step.n) > SILENCE ** 2;
  const cancel = total((step) => step.ofMean) < (0.1 * average) / energies.length;
  return isAudible && cancel ? energies.indexOf(loudest) : null;
}
