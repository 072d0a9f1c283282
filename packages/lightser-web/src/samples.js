import { BadAudio } from "./errors.js";

export const MIN_SECONDS = 0.1;
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
 * Return the mean of channels of equal length.
 *
 * @param {Float32Array[]} channels
 */
export function toMono(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    return sum / channels.length;
  });
}
