import { breathe } from "./breathe.js";
import { BadAudio } from "./errors.js";

export const MIN_RATE = 4_000;
export const MAX_RATE = 192_000; // hertz

// A sinc under a Kaiser window, which is what Python's soxr does at its very high quality: its
// impulse response was measured, and these are its parameters. At ratios of whole numbers both are
// the same to 1e-8; at 44.1 to 16 kHz, where soxr filters twice, to 1e-4 of full scale.
const CUTOFF = 0.95566416; // of the lower Nyquist frequency
const HALF_WIDTH = 133; // samples at the lower rate
const BETA = 18.4335; // stop band 175 dB below

// Exact for all common pairs of rates; others are interpolated between this many phases.
const MOST_PHASES = 1024;

/** Change the sample rate of audio that is still coming; how it is chunked changes nothing. */
export class Resampler {
  #up = 1; // output samples ...
  #down = 1; // ... for so many input samples
  #reach = 0; // input samples that one output sample needs on each side
  #phases = 1;
  /** @type {(Float64Array | undefined)[]} */
  #kernels = [];
  /** @type {Float32Array} */
  #held = new Float32Array(0);
  #first = 0; // input sample that `#held` begins with
  #taken = 0; // input samples so far
  #given = 0; // output samples so far

  /**
   * @param {number} rateIn hertz
   * @param {number} rateOut hertz
   * @throws {BadAudio} a rate that is not a whole number from 4000 to 192000
   */
  constructor(rateIn, rateOut) {
    for (const rate of [rateIn, rateOut]) {
      if (!(Number.isInteger(rate) && rate >= MIN_RATE && rate <= MAX_RATE)) {
        throw new BadAudio(`Sample rate ${rate} Hz; expected a whole number, ${MIN_RATE} to ${MAX_RATE}.`);
      }
    }
    const common = divisor(rateIn, rateOut);
    this.#up = rateOut / common;
    this.#down = rateIn / common;
    if (this.#up === this.#down) return;
    this.#reach = Math.ceil(HALF_WIDTH * Math.max(1, this.#down / this.#up));
    this.#phases = Math.min(this.#up, MOST_PHASES);
  }

  /**
   * Take the next samples; return what is certain of the result by now.
   *
   * @param {Float32Array} chunk
   * @returns {Float32Array}
   */
  push(chunk) {
    this.#taken += chunk.length;
    if (this.#up === this.#down) return chunk;
    this.#held = joined([this.#held, chunk]);
    const certain = this.#taken - this.#reach; // input position that can be answered
    return this.#answer(Math.floor(((certain - 1) * this.#up) / this.#down) + 1);
  }

  /**
   * Return the rest; the next chunk begins another recording.
   *
   * @returns {Float32Array}
   */
  flush() {
    const total = Math.round((this.#taken * this.#up) / this.#down);
    const rest = this.#up === this.#down ? new Float32Array(0) : this.#answer(total);
    this.#held = new Float32Array(0);
    this.#first = this.#taken = this.#given = 0;
    return rest;
  }

  /** @param {number} end output samples that there are to be */
  #answer(end) {
    const n = Math.max(end - this.#given, 0);
    const answer = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const position = (this.#given + i) * this.#down; // in units of 1 / up
      const nearest = Math.floor(position / this.#up);
      const phase = ((position - nearest * this.#up) * this.#phases) / this.#up;
      const low = Math.floor(phase);
      const share = phase - low;
      let value = this.#dot(nearest, low);
      if (share > 0) value += share * (this.#dot(nearest, low + 1) - value);
      answer[i] = value;
    }
    this.#given += n;
    const needed = Math.floor((this.#given * this.#down) / this.#up) - this.#reach;
    if (needed > this.#first) {
      this.#held = this.#held.slice(needed - this.#first);
      this.#first = needed;
    }
    return answer;
  }

  /**
   * Return the sum around an input sample; outside of the recording all is zero.
   *
   * @param {number} nearest
   * @param {number} phase
   */
  #dot(nearest, phase) {
    const kernel = (this.#kernels[phase] ??= this.#kernel(phase / this.#phases));
    const begin = nearest - this.#reach - this.#first;
    const from = Math.max(0, -begin);
    const to = Math.min(kernel.length, this.#held.length - begin);
    let sum = 0;
    for (let k = from; k < to; k++) sum += kernel[k] * this.#held[begin + k];
    return sum;
  }

  /** @param {number} offset of the output sample after the nearest input sample, 0 to 1 */
  #kernel(offset) {
    const scale = Math.min(1, this.#up / this.#down);
    return Float64Array.from({ length: 2 * this.#reach + 2 }, (_, k) => {
      const t = (k - this.#reach - offset) * scale; // in samples at the lower rate
      if (Math.abs(t) >= HALF_WIDTH) return 0;
      const x = Math.PI * CUTOFF * t;
      const window = bessel(BETA * Math.sqrt(1 - (t / HALF_WIDTH) ** 2)) / bessel(BETA);
      return scale * CUTOFF * (x === 0 ? 1 : Math.sin(x) / x) * window;
    });
  }
}

/**
 * Return samples at another rate: `length * rateOut / rateIn` of them, rounded, without delay.
 *
 * @param {Float32Array} samples
 * @param {number} rateIn hertz
 * @param {number} rateOut hertz
 * @throws {BadAudio} a rate that is not a whole number from 4000 to 192000
 */
export function resample(samples, rateIn, rateOut) {
  const resampler = new Resampler(rateIn, rateOut);
  return joined([resampler.push(samples), resampler.flush()]);
}

/**
 * Return what `resample` does, and let the event loop turn after each second of it: a page answers
 * meanwhile.
 *
 * @param {Float32Array} samples
 * @param {number} rateIn hertz
 * @param {number} rateOut hertz
 * @returns {Promise<Float32Array>}
 * @throws {BadAudio} a rate that is not a whole number from 4000 to 192000
 */
export async function resampleInTurns(samples, rateIn, rateOut) {
  const resampler = new Resampler(rateIn, rateOut);
  if (rateIn === rateOut) return samples;
  const parts = [];
  for (let at = 0; at < samples.length; at += rateIn) {
    parts.push(resampler.push(samples.subarray(at, at + rateIn)));
    await breathe();
  }
  return joined([...parts, resampler.flush()]);
}

/** @param {Float32Array[]} parts */
export function joined(parts) {
  const filled = parts.filter((part) => part.length);
  if (filled.length === 1) return filled[0];
  const whole = new Float32Array(filled.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of filled) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
const divisor = (a, b) => (b ? divisor(b, a % b) : a);

/**
 * Modified Bessel function of the first kind, order 0, by its series.
 *
 * @param {number} x
 */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
