import { BadAudio } from "./errors.js";

export const MIN_SECONDS = 0.1;
const SILENCE = 2 ** -16; // half a step of 16 bits
// Samples (of all channels together) that are mixed at once, as in Python: what cancels is decided
// anew for each chunk.
const CHUNK = 2 ** 18;
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
  const size = Math.max(Math.floor(CHUNK / channels.length), 1);
  for (let at = 0; at < samples.length; at += size) {
    const chunk = channels.map((channel) => channel.subarray(at, at + size));
    const kept = mix(chunk, samples.subarray(at, at + size));
    if (kept === null) continue;
    samples.set(channels[kept].subarray(at), at);
    const warning =
      `Its ${channels.length} channels cancel each other from about ${(at / rate).toFixed(1)} s; ` +
      `only channel ${kept + 1}, the loudest, is kept from there on.`;
    return { samples, rate, warnings: [warning] };
  }
  return { samples, rate, warnings: [] };
}

/**
 * Write the mean of channels, and return the loudest of them if they cancel each other.
 *
 * @param {Float32Array[]} channels
 * @param {Float32Array} mixed
 */
function mix(channels, mixed) {
  const powers = channels.map(() => 0); // sums of squares, as is the next
  let power = 0;
  for (let i = 0; i < mixed.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels.length; c++) {
      const value = channels[c][i];
      sum += value;
      powers[c] += value * value;
    }
    const mean = sum / channels.length;
    power += mean * mean;
    mixed[i] = mean;
  }
  const loudest = Math.max(...powers);
  const average = powers.reduce((a, b) => a + b) / channels.length;
  // Channels that have nothing in common keep 1/C of their power in the mean.
  const isAudible = loudest / mixed.length > SILENCE ** 2;
  return isAudible && power < (0.1 * average) / channels.length ? powers.indexOf(loudest) : null;
}
