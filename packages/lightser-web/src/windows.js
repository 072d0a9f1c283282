import { round } from "./rounding.js";

/**
 * Return where the windows of a clip of `total` samples begin: as few as cover it, spread evenly
 * from its first sample to its last.
 *
 * @param {number} total
 * @param {number} window
 * @returns {number[]}
 */
export function windowStarts(total, window) {
  if (total <= window) return [0];
  const count = Math.ceil(total / window);
  const step = (total - window) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? total - window : round(i * step)));
}

/**
 * Return samples with zeros on both sides, `length` in all, the odd one at the end.
 *
 * @param {Float32Array} samples
 * @param {number} length
 */
export function padTo(samples, length) {
  if (samples.length >= length) return samples;
  const padded = new Float32Array(length);
  padded.set(samples, Math.floor((length - samples.length) / 2));
  return padded;
}

/**
 * Return label, confidence and probabilities by name.
 *
 * @param {readonly string[]} labels
 * @param {ArrayLike<number>} probabilities
 */
export function nameProbabilities(labels, probabilities) {
  let best = 0;
  for (let i = 1; i < labels.length; i++) if (probabilities[i] > probabilities[best]) best = i;
  /** @type {Record<string, number>} */
  const named = Object.fromEntries(labels.map((label, i) => [label, probabilities[i]]));
  return { label: labels[best], confidence: probabilities[best], probabilities: named };
}
