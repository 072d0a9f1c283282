import { LightserError } from "./errors.js";

const FORMAT = 1;
// Windows that the mean and the variance of training count as.
const [MEAN_COUNTS, VARIANCE_COUNTS] = [1, 5];

/** @typedef {{mean: Float32Array, std: Float32Array}} Norm */

/**
 * What was heard of a voice, without labels: statistics by which a model adapts to it.
 *
 * `JSON.stringify` makes a text of it, some kilobytes, which may be kept; it is the file that
 * `lightser adapt` writes. A voice that shows one emotion only is the known way to fail: what is
 * taken off is what all that was heard has in common.
 */
export class Adaptation {
  /** Windows heard. */
  count = 0;
  /** @type {Float64Array} */
  mean;
  /** Sum of squared deviations from the mean. @type {Float64Array} */
  m2;

  /**
   * @param {string} model SHA-256 of the graph
   * @param {number} size values of an embedding
   */
  constructor(model, size) {
    this.model = model;
    this.mean = new Float64Array(size);
    this.m2 = new Float64Array(size);
  }

  /**
   * Return what was kept as JSON.
   *
   * @param {any} kept what `JSON.parse` gives
   * @returns {Adaptation}
   * @throws {LightserError} it is none
   */
  static from(kept) {
    if (typeof kept !== "object" || kept === null || kept.format !== FORMAT) {
      throw new LightserError("This is no adaptation; lightser adapt writes one, or JSON.stringify.");
    }
    const { model, count, mean, m2 } = kept;
    const isList = (/** @type {any} */ list) => Array.isArray(list) && list.length > 0 && list.every(Number.isFinite);
    const fits = isList(mean) && isList(m2) && mean.length === m2.length && m2.every((/** @type {number} */ v) => v >= 0);
    if (typeof model !== "string" || !Number.isInteger(count) || count < 0 || !fits) {
      throw new LightserError("This adaptation holds what is no number, or too few; adapt anew.");
    }
    const one = new Adaptation(model, mean.length);
    one.count = count;
    one.mean.set(mean);
    one.m2.set(m2);
    return one;
  }

  toJSON() {
    const { model, count } = this;
    return { format: FORMAT, model, count, mean: [...this.mean], m2: [...this.m2] };
  }

  /**
   * Hear a window.
   *
   * @param {Float32Array} embedding
   */
  add(embedding) {
    this.count++;
    for (const [i, value] of embedding.entries()) {
      const before = value - this.mean[i];
      this.mean[i] += before / this.count;
      this.m2[i] += before * (value - this.mean[i]);
    }
  }

  /**
   * Return what to standardise by; the norm of training where nothing was heard.
   *
   * @param {Norm} training
   * @returns {Norm}
   */
  norm(training) {
    const n = this.count;
    const mean = training.mean.map((m, i) => (n * this.mean[i] + MEAN_COUNTS * m) / (n + MEAN_COUNTS));
    const std = training.std.map((s, i) =>
      Math.sqrt((this.m2[i] + VARIANCE_COUNTS * s * s) / (n + VARIANCE_COUNTS)),
    );
    return { mean, std };
  }
}
