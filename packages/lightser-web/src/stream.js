import { LightserError } from "./errors.js";
import { SpeechDetector, SpeechGate } from "./gate.js";
import { joined, Resampler } from "./resampler.js";
import { round } from "./rounding.js";
import { checkSamples, isSilent, MIN_SECONDS } from "./samples.js";
import { Smoother } from "./smoothing.js";
import { nameProbabilities } from "./windows.js";

/** @typedef {import("./recognizer.js").Segment} Segment */

/**
 * Take audio in chunks of any size, and give a segment for every window that is full.
 *
 * The answers depend on the audio alone, not on how it was chunked. One stream listens to one
 * recording; several may share a recogniser. Memory does not grow.
 */
export class Stream {
  #recognizer;
  #rate;
  #window; // samples, as all below
  #hop;
  #resampler;
  #smoother;
  #gate;
  /** @type {SpeechDetector | null} */
  #speech = null;
  /** @type {Float32Array} */
  #held = new Float32Array(0);
  #first = 0; // sample of the recording that `#held` begins with
  #total = 0; // heard so far
  #next = 0; // where the next window begins
  #told = 0; // end of the last window
  #learned = 0; // end of the last window that was adapted to
  /** @type {Promise<unknown>} */
  #busy = Promise.resolve();

  /**
   * @param {import("./recognizer.js").Recognizer} recognizer that listens
   * @param {import("./recognizer.js").Cut & {sampleRate?: number}} [options] `sampleRate` is that
   *   of the chunks, in hertz; by default the model's own
   * @throws {LightserError} `hopS` is longer than `windowS`, one of them is too short, or a
   *   gate is none
   */
  constructor(recognizer, { windowS, hopS, smoothing, gate, adaptation, sampleRate } = {}) {
    const { card } = recognizer;
    windowS ??= card.window_s;
    hopS ??= windowS / 2;
    if (!(Number.isFinite(windowS) && windowS >= MIN_SECONDS)) {
      throw new LightserError(`A window of ${windowS} s is too short; give ${MIN_SECONDS} or more.`);
    }
    if (!(hopS > 0 && hopS <= windowS)) {
      throw new LightserError(
        `A hop of ${hopS} s does not fit a window of ${windowS} s; ` +
          "give one above 0, and no longer than the window, or audio goes unheard.",
      );
    }
    if (gate !== undefined && !(gate instanceof SpeechGate)) {
      throw new LightserError("A gate is what loadGate() gives; wait for it, and pass it on.");
    }
    if (adaptation) recognizer.adapted(adaptation); // refuses one of another model
    /** What was heard of the voice so far, over all recordings, if it is adapted to. */
    this.adaptation = adaptation;
    this.#recognizer = recognizer;
    this.#rate = card.sample_rate;
    this.#window = round(windowS * this.#rate);
    this.#hop = Math.max(round(hopS * this.#rate), 1);
    this.#resampler = new Resampler(sampleRate ?? this.#rate, this.#rate);
    this.#smoother = smoothing ? new Smoother(smoothing) : null;
    this.#gate = gate;
    this.#begin();
  }

  #begin() {
    this.#held = new Float32Array(0);
    this.#first = this.#total = this.#next = this.#told = this.#learned = 0;
    this.#speech = this.#gate ? new SpeechDetector(this.#gate, this.#rate) : null;
    this.#smoother?.reset();
  }

  /**
   * Take mono samples; return the segments that they complete.
   *
   * @param {Float32Array} chunk
   * @returns {Promise<Segment[]>}
   * @throws {import("./errors.js").BadAudio} NaN, infinity, or far above full scale; the stream
   *   is as it was before
   */
  async push(chunk) {
    checkSamples(chunk);
    const own = chunk.slice(); // a caller may fill the same buffer again
    return this.#inTurn(() => this.#hear(this.#resampler.push(own)));
  }

  /**
   * End the recording and return what is left of it; the stream then begins anew, at 0 s.
   *
   * Where audio follows the last full window, one more window ends with the recording. So a
   * recording shorter than a window is one segment; one under 0.1 s is none.
   *
   * @returns {Promise<Segment[]>}
   */
  flush() {
    return this.#inTurn(async () => {
      const segments = await this.#hear(this.#resampler.flush());
      if (this.#total > this.#told && this.#total / this.#rate >= MIN_SECONDS) {
        const start = Math.max(this.#total - this.#window, 0);
        segments.push(await this.#segment(start, this.#total));
      }
      this.#begin();
      return segments;
    });
  }

  /**
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const done = this.#busy.then(work, work);
    this.#busy = done;
    return done;
  }

  /** @param {Float32Array} wave */
  async #hear(wave) {
    this.#held = joined([this.#held, wave]);
    this.#total += wave.length;
    this.#speech?.hear(wave);
    /** @type {Segment[]} */
    const segments = [];
    while (this.#next + this.#window <= this.#total) {
      this.#told = this.#next + this.#window;
      segments.push(await this.#segment(this.#next, this.#told));
      this.#next += this.#hop;
    }
    // What remains is the beginning of the next window, or of one that ends with the recording.
    const remains = Math.max(this.#total - this.#window, 0);
    if (segments.length) {
      this.#held = this.#held.slice(remains - this.#first);
      this.#first = remains;
      this.#speech?.forget(remains);
    }
    return segments;
  }

  /**
   * @param {number} start
   * @param {number} end
   * @returns {Promise<Segment>}
   */
  async #segment(start, end) {
    const times = { start: start / this.#rate, end: end / this.#rate };
    const wave = this.#held.subarray(start - this.#first, end - this.#first);
    const still = this.#stillness(start, end, wave);
    if (still !== null) {
      this.#smoother?.reset(); // who speaks next need not feel as before
      return { ...times, label: "silence", confidence: still, probabilities: {} };
    }
    const { labels } = this.#recognizer;
    const learns = start >= this.#learned; // or what is in many windows would count as often
    if (learns) this.#learned = end;
    const probabilities = await this.#recognizer.probabilities(wave, this.adaptation, learns);
    if (!this.#smoother) return { ...times, ...nameProbabilities(labels, probabilities) };
    const smoothed = this.#smoother.add(probabilities, times.end);
    const named = nameProbabilities(labels, smoothed.probabilities);
    const confidence = smoothed.probabilities[smoothed.label];
    return { ...times, ...named, label: labels[smoothed.label], confidence };
  }

  /**
   * Return the share of a stretch without speech if it counts as silence, null if it does not.
   *
   * @param {number} start
   * @param {number} end
   * @param {Float32Array} wave
   */
  #stillness(start, end, wave) {
    if (isSilent(wave)) return 1;
    if (!this.#gate || !this.#speech) return null;
    const speech = this.#speech.share(start, end);
    return speech < this.#gate.least ? 1 - speech : null;
  }
}
