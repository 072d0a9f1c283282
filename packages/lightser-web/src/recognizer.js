import { Adaptation } from "./adaptation.js";
import { breathe } from "./breathe.js";
import { MODEL, CARD, parseCard } from "./card.js";
import { BadAudio, BadModel, LightserError } from "./errors.js";
import { withoutInitializers } from "./graph.js";
import { resampleInTurns } from "./resampler.js";
import { round } from "./rounding.js";
import { checkSamples, isSilent, MIN_SECONDS } from "./samples.js";
import { sha256 } from "./sha256.js";
import { Stream } from "./stream.js";
import { nameProbabilities, padTo, windowStarts } from "./windows.js";

/** @typedef {import("./card.js").Card} Card */
/** @typedef {import("./gate.js").SpeechGate} SpeechGate */
/** @typedef {import("./smoothing.js").Smoothing} Smoothing */
/** @typedef {typeof import("onnxruntime-web")} Runtime */
/** @typedef {import("./adaptation.js").Norm} Norm */

const [MEAN, STD] = ["embedding_mean", "embedding_std"]; // inputs of a model that can be adapted

/**
 * What was heard in a whole clip.
 *
 * @typedef {object} Prediction
 * @property {string} label the likeliest emotion
 * @property {number} confidence its probability
 * @property {Record<string, number>} probabilities of every label, in the order of the model
 * @property {number} durationS seconds of the clip
 * @property {number} windows over how many windows the probabilities were averaged
 */

/**
 * What was heard in a stretch of a recording.
 *
 * @typedef {object} Segment
 * @property {number} start seconds from the beginning
 * @property {number} end seconds, exclusive
 * @property {string} label the likeliest emotion, or the smoothed one if smoothing was asked for;
 *   "silence" where nothing sounds, or where a gate was asked for and nobody speaks
 * @property {number} confidence the probability of the label; of silence, the share of the stretch
 *   without speech
 * @property {Record<string, number>} probabilities of every label; smoothed as the label is. Empty
 *   for silence: the model was not asked
 */

/**
 * @typedef {object} Cut
 * @property {number} [windowS] seconds that a segment lasts; by default the card's `window_s`
 * @property {number} [hopS] seconds from one segment's start to the next; by default half a window
 * @property {Smoothing} [smoothing] of labels over time; none by default
 * @property {SpeechGate} [gate] by which a stretch counts as silence, for which the model is not
 *   asked; by default it is asked always. See `loadGate`
 * @property {Adaptation} [adaptation] what was heard of the voice, to which windows that have no
 *   audio in common are added; each answer goes by all before it. See `recognizer.adaptation`
 */

/**
 * Open a model folder, however its files are come by.
 *
 * @param {(name: string) => Promise<Uint8Array>} read gives the bytes of a file of the folder
 * @param {object} options
 * @param {Runtime} options.ort ONNX Runtime, configured
 * @param {boolean} [options.verify] whether to check the model against the SHA-256 of its card
 * @param {Iterable<string>} [options.labels] the emotions to choose from, if not all
 * @returns {Promise<Recognizer>}
 * @throws {BadModel} the folder is incomplete or changed, or is no model folder
 * @throws {LightserError} the model has no such label, or fewer than two are left
 */
export async function open(read, { ort, verify = true, labels }) {
  const card = parseCard(await read(CARD));
  const bytes = await read(MODEL);
  if (verify) await check(bytes, card.files[MODEL]);
  let session, norm;
  try {
    const { model, values } = withoutInitializers(bytes, [MEAN, STD]);
    if (values[MEAN] && values[STD]) norm = { mean: values[MEAN], std: values[STD] };
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  } catch (error) {
    const reason = String(error instanceof Error ? error.message : error).split("\n")[0];
    throw new BadModel(`'${MODEL}' cannot be opened by ONNX Runtime: ${reason}`);
  }
  const recognizer = new Recognizer(card, session, ort, norm);
  return labels === undefined ? recognizer : recognizer.choosing(labels);
}

/**
 * @param {Uint8Array} bytes
 * @param {{sha256: string, bytes: number}} expected
 */
async function check(bytes, expected) {
  if (bytes.length !== expected.bytes) {
    throw new BadModel(
      `'${MODEL}' has ${bytes.length} bytes, its card says ${expected.bytes}; ` +
        "copy the model folder again, whole.",
    );
  }
  const found = await sha256(bytes);
  if (found !== expected.sha256) {
    throw new BadModel(
      `'${MODEL}' was changed since its card was written: SHA-256 ${found.slice(0, 12)}…, ` +
        `the card says ${expected.sha256.slice(0, 12)}….`,
    );
  }
}

/** A model that tells the emotion of speech. Open one with `load`. */
export class Recognizer {
  #session;
  #ort;
  #window; // samples
  #least; // samples
  /** @type {number[]} */
  #kept; // of the model's outputs
  /** @type {Norm | undefined} */
  #training; // of a model that can be adapted
  /** @type {Norm | undefined} */
  #norm; // to answer by
  /** @type {{ last: Promise<unknown> }} */
  #turns = { last: Promise.resolve() };

  /**
   * @param {Card} card
   * @param {import("onnxruntime-web").InferenceSession} session
   * @param {Runtime} ort
   * @param {Norm} [training] of the embedding, if it can be adapted
   * @throws {BadModel} the graph is not one of samples to probabilities
   */
  constructor(card, session, ort, training) {
    /** What the model says of itself. */
    this.card = card;
    this.#session = session;
    this.#ort = ort;
    this.#training = this.#norm = training;
    this.#window = round(card.window_s * card.sample_rate);
    this.#least = round(card.min_s * card.sample_rate);
    this.#kept = card.labels.map((_, i) => i);
    this.#checkGraph();
  }

  /** The emotions that it tells, in the order of the model's outputs. */
  get labels() {
    return this.#kept.map((i) => this.card.labels[i]);
  }

  /**
   * Return a recogniser that chooses from some of the model's labels, and shares the model.
   *
   * Its probabilities are those given that it is one of these: of each window they are divided by
   * their sum.
   *
   * @param {Iterable<string>} labels
   * @returns {Recognizer}
   * @throws {LightserError} the model has no such label, or fewer than two are left
   */
  choosing(labels) {
    const [known, wanted] = [this.card.labels, new Set(labels)];
    for (const label of wanted) {
      if (!known.includes(label)) {
        throw new LightserError(`${this.card.name} has no label '${label}'; it knows ${known.join(", ")}.`);
      }
    }
    if (wanted.size < 2) {
      throw new LightserError(`Give at least two labels to choose from, of ${known.join(", ")}.`);
    }
    const one = this.#copy();
    one.#kept = this.#kept.filter((i) => wanted.has(known[i]));
    return one;
  }

  #copy() {
    const one = new Recognizer(this.card, this.#session, this.#ort, this.#training);
    one.#kept = this.#kept;
    one.#norm = this.#norm;
    one.#turns = this.#turns;
    return one;
  }

  /**
   * Return what was heard of a voice before, or that nothing was heard yet.
   *
   * @param {unknown} [kept] what `JSON.parse` makes of one that was kept
   * @returns {Adaptation}
   * @throws {LightserError} it is none of this model, or the model cannot be adapted
   */
  adaptation(kept) {
    const { sha256 } = this.card.files[MODEL];
    if (!this.#training) throw new LightserError(`${this.card.name} cannot be adapted: it gives no embedding.`);
    const size = this.#training.mean.length;
    const one = kept === undefined ? new Adaptation(sha256, size) : Adaptation.from(kept);
    if (one.model !== sha256 || one.mean.length !== size) {
      throw new LightserError(`This adaptation is of another model than ${this.card.name}; adapt anew.`);
    }
    return one;
  }

  /**
   * Listen to a clip of a voice without labels, and add to what was heard of it.
   *
   * @param {Float32Array} samples mono, full scale 1
   * @param {number} rate hertz
   * @param {Adaptation} adaptation
   * @throws {BadAudio} as `predict`
   */
  async adapt(samples, rate, adaptation) {
    this.adapted(adaptation); // refuses one of another model
    const wave = await this.#hearable(samples, rate);
    for (const start of windowStarts(wave.length, this.#window)) {
      const window = wave.subarray(start, start + this.#window);
      if (isSilent(window)) continue;
      const { embedding } = await this.#ask(window, this.#norm);
      if (embedding) adaptation.add(embedding);
    }
  }

  /**
   * Return a recogniser that goes by what was heard of a voice so far, and shares the model.
   *
   * @param {Adaptation} adaptation
   * @returns {Recognizer}
   * @throws {LightserError} it is of another model
   */
  adapted(adaptation) {
    this.adaptation(adaptation.toJSON());
    const one = this.#copy();
    if (this.#training) one.#norm = adaptation.norm(this.#training);
    return one;
  }

  /**
   * Return the emotion of a whole clip.
   *
   * A clip shorter than the card's `min_s` is padded with zeros on both sides. One longer than
   * `window_s` is cut into windows of that length, as few as cover it, spread evenly, and their
   * probabilities are averaged.
   *
   * @param {Float32Array} samples mono, full scale 1
   * @param {number} rate hertz
   * @returns {Promise<Prediction>}
   * @throws {BadAudio} it is silent, shorter than 0.1 s, or holds what is no audio
   */
  async predict(samples, rate) {
    const wave = await this.#hearable(samples, rate);
    if (isSilent(wave)) {
      throw new BadAudio("Silent throughout (nothing above -96 dB); check the recording.");
    }
    const probabilities = await this.probabilities(wave);
    return {
      ...nameProbabilities(this.labels, probabilities),
      durationS: wave.length / this.card.sample_rate,
      windows: windowStarts(wave.length, this.#window).length,
    };
  }

  /**
   * Give the segments of a recording, one after another, as a `Stream` does.
   *
   * @param {Float32Array} samples mono, full scale 1
   * @param {number} rate hertz
   * @param {Cut} [cut]
   * @returns {AsyncGenerator<Segment, void, void>}
   * @throws {BadAudio} as `predict`, but silence is listened to like anything else
   * @throws {import("./errors.js").LightserError} windows that do not fit
   */
  async *segments(samples, rate, cut = {}) {
    const stream = new Stream(this, cut);
    const wave = await this.#hearable(samples, rate);
    const second = this.card.sample_rate;
    for (let at = 0; at < wave.length; at += second) {
      yield* await stream.push(wave.subarray(at, at + second));
    }
    yield* await stream.flush();
  }

  /**
   * Return the probabilities of samples that have the model's own rate, unchecked.
   *
   * @param {Float32Array} wave
   * @param {Adaptation} [adaptation] what was heard of the voice, to go by
   * @param {boolean} [learns] whether these samples are then added to it
   * @returns {Promise<Float64Array>}
   */
  async probabilities(wave, adaptation, learns = false) {
    const starts = windowStarts(wave.length, this.#window);
    const mean = new Float64Array(this.labels.length);
    const norm = adaptation && this.#training ? adaptation.norm(this.#training) : this.#norm;
    const heard = [];
    for (const start of starts) {
      const answer = await this.#ask(wave.subarray(start, start + this.#window), norm);
      for (let i = 0; i < mean.length; i++) mean[i] += answer.probabilities[i] / starts.length;
      heard.push(answer.embedding);
    }
    if (learns) for (const embedding of heard) if (embedding) adaptation?.add(embedding);
    return mean;
  }

  /** Free the model's memory; it must not be asked any more. */
  async release() {
    await this.#turns.last.catch(() => {}); // whoever asked has been told
    await this.#session.release();
  }

  /**
   * Return samples at the model's rate.
   *
   * @param {Float32Array} samples
   * @param {number} rate
   */
  async #hearable(samples, rate) {
    checkSamples(samples);
    const wave = await resampleInTurns(samples, rate, this.card.sample_rate);
    if (samples.length < MIN_SECONDS * rate) {
      throw new BadAudio(
        `${samples.length} samples at ${rate} Hz are ${(samples.length / rate).toFixed(3)} s; ` +
          `at least ${MIN_SECONDS} s are needed.`,
      );
    }
    return wave;
  }

  /**
   * @param {Float32Array} window
   * @param {Norm} [norm]
   * @returns {Promise<{probabilities: Float64Array, embedding?: Float32Array}>}
   */
  #ask(window, norm) {
    const samples = padTo(window, this.#least);
    const ask = async () => {
      await breathe(); // the answer itself is computed in one go
      const { Tensor } = this.#ort;
      const feeds = { samples: new Tensor("float32", samples, [1, samples.length]) };
      if (norm) {
        const { mean, std } = norm;
        Object.assign(feeds, {
          [MEAN]: new Tensor("float32", mean, [mean.length]),
          [STD]: new Tensor("float32", std, [std.length]),
        });
      }
      const { probabilities, embedding } = await this.#session.run(feeds);
      return {
        probabilities: this.#among(/** @type {Float32Array} */ (probabilities.data)),
        embedding: /** @type {Float32Array | undefined} */ (embedding?.data),
      };
    };
    // A session answers one question at a time.
    const answer = this.#turns.last.then(ask, ask);
    this.#turns.last = answer;
    return answer;
  }

  /**
   * Return the probabilities given that it is one of the labels to choose from.
   *
   * @param {Float32Array} probabilities
   */
  #among(probabilities) {
    const kept = Float64Array.from(this.#kept, (i) => probabilities[i]);
    if (kept.length === probabilities.length) return kept;
    const total = kept.reduce((sum, p) => sum + p, 0);
    // The model may be so sure of another label that nothing is left for any of these.
    return kept.map((p) => (total > 0 ? p / total : 1 / kept.length));
  }

  #checkGraph() {
    const { inputNames, outputNames, inputMetadata, outputMetadata } = this.#session;
    const [takes, gives] = this.#training
      ? [`samples,${MEAN},${STD}`, "probabilities,embedding"]
      : ["samples", "probabilities"];
    if (inputNames.join() !== takes || outputNames.join() !== gives) {
      throw new BadModel(
        `'${MODEL}' takes [${inputNames}] and gives [${outputNames}]; ` +
          "expected [samples] and [probabilities].",
      );
    }
    const [taken, given] = [inputMetadata[0], outputMetadata[0]];
    if (!taken.isTensor || taken.type !== "float32" || taken.shape.length !== 2) {
      throw new BadModel(`'${MODEL}' does not take float32 samples of [batch, time].`);
    }
    const time = taken.shape[1];
    if (typeof time === "number" && (time !== this.#window || time !== this.#least)) {
      throw new BadModel(
        `'${MODEL}' takes ${time} samples and no others; its card says from ${this.#least} to ` +
          `${this.#window}.`,
      );
    }
    const classes = given.isTensor ? given.shape.at(-1) : undefined;
    if (typeof classes === "number" && classes !== this.card.labels.length) {
      throw new BadModel(
        `'${MODEL}' gives ${classes} probabilities; its card has ${this.card.labels.length} labels.`,
      );
    }
  }
}
