import { LightserError } from "./errors.js";

/**
 * How labels are smoothed. The defaults are lightser's own, chosen on joined recordings.
 *
 * @typedef {object} Smoothing
 * @property {number} [timeS] seconds after which a change of probabilities has come through by
 *   63 %; 0 smooths nothing; 0.5 by default
 * @property {number} [margin] by how much another label must be ahead of the present one to
 *   replace it; 0 is no hysteresis; 0.1 by default
 */

/** Smooth the probabilities of one recording, window by window. */
export class Smoother {
  #timeS;
  #margin;
  /** @type {number[] | null} */
  #mean = null;
  #at = 0;
  #label = 0;

  /**
   * @param {Smoothing} [smoothing]
   * @throws {LightserError} a value out of range
   */
  constructor({ timeS = 0.5, margin = 0.1 } = {}) {
    if (!(Number.isFinite(timeS) && timeS >= 0)) {
      throw new LightserError(`Smoothing over ${timeS} s; give 0 or more.`);
    }
    if (!(margin >= 0 && margin < 1)) {
      throw new LightserError(`A margin of ${margin}; give one from 0 up to, not with, 1.`);
    }
    this.#timeS = timeS;
    this.#margin = margin;
  }

  /** Forget what was heard: another recording begins. */
  reset() {
    this.#mean = null;
  }

  /**
   * Return the number of the label, and smoothed probabilities.
   *
   * @param {ArrayLike<number>} probabilities of a window, in the order of the labels
   * @param {number} at seconds at which it ends, after those of the window before
   * @returns {{label: number, probabilities: number[]}}
   */
  add(probabilities, at) {
    const given = Array.from(probabilities);
    if (this.#mean === null) {
      this.#mean = given;
      this.#label = argmax(given);
    } else {
      const share = this.#timeS ? -Math.expm1(-(at - this.#at) / this.#timeS) : 1;
      this.#mean = this.#mean.map((mean, i) => (1 - share) * mean + share * given[i]);
      const best = argmax(this.#mean);
      if (this.#mean[best] > this.#mean[this.#label] + this.#margin) this.#label = best;
    }
    this.#at = at;
    return { label: this.#label, probabilities: this.#mean };
  }
}

/** @param {number[]} values */
function argmax(values) {
  return values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
}
