import { BadAudio, LightserError } from "./errors.js";

const BACKLOG_S = 60; // that may wait for a listener who is slower than speech

const REASONS = /** @type {Record<string, string>} */ ({
  NotAllowedError: "The microphone may not be used; allow it in the browser's site settings.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "The microphone is taken by another program.",
  OverconstrainedError: "There is no such microphone.",
});

/** @param {MediaStream} media */
const stop = (media) => media.getTracks().forEach((track) => track.stop());

/**
 * Return a promise that is broken when a signal is aborted.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<never>}
 */
const aborted = (signal) =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

/** The microphone, as chunks of samples: `for await (const chunk of microphone) …`. */
export class Microphone {
  #context;
  #media;
  /** @type {Float32Array[]} */
  #waiting = [];
  #waitingS = 0;
  #wake = () => {};
  #open = true;

  /**
   * Ask for the microphone. Call it from a click or a key press, which browsers demand.
   *
   * Echo cancellation, noise suppression and gain control are off: models are trained without.
   *
   * @param {object} [options]
   * @param {string} [options.deviceId] one of `navigator.mediaDevices.enumerateDevices()`
   * @param {string | URL} [options.worklet] address of `microphone-worklet.js`, where a bundler
   *   has moved it
   * @param {AbortSignal} [options.signal] ends the question, and nobody is listened to
   * @returns {Promise<Microphone>}
   * @throws {BadAudio} there is none, or it may not be used
   * @throws the reason of the signal, once it is aborted
   */
  static async open({ deviceId, worklet, signal } = {}) {
    signal?.throwIfAborted();
    const devices = globalThis.navigator?.mediaDevices;
    if (!devices?.getUserMedia) {
      throw new BadAudio("Browsers lend the microphone to pages over HTTPS, or of this machine, alone.");
    }
    const asked = devices.getUserMedia({
      audio: {
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
        channelCount: 1,
        echoCancellation: false,
        noiseSuppression: false,
        autoGainControl: false,
      },
    });
    let media;
    try {
      media = await (signal ? Promise.race([asked, aborted(signal)]) : asked);
    } catch (error) {
      asked.then(stop, () => {}); // permission that comes too late
      signal?.throwIfAborted();
      const { name, message } = /** @type {Error} */ (error);
      throw new BadAudio(REASONS[name] ?? `The microphone cannot be opened: ${message}`);
    }
    /** @type {AudioContext | undefined} */
    let context;
    try {
      context = new AudioContext({ latencyHint: "interactive" });
      await context.audioWorklet.addModule(worklet ?? new URL("./microphone-worklet.js", import.meta.url));
      await context.resume();
      signal?.throwIfAborted();
      return new Microphone(context, media);
    } catch (error) {
      stop(media);
      await context?.close();
      signal?.throwIfAborted();
      throw new LightserError(`The microphone cannot be heard here: ${/** @type {Error} */ (error).message}`);
    }
  }

  /**
   * @param {AudioContext} context
   * @param {MediaStream} media
   */
  constructor(context, media) {
    this.#context = context;
    this.#media = media;
    const gather = new AudioWorkletNode(context, "lightser-gather", { numberOfOutputs: 0 });
    gather.port.onmessage = ({ data }) => {
      this.#waiting.push(data);
      this.#waitingS += data.length / this.sampleRate;
      this.#wake();
    };
    context.createMediaStreamSource(media).connect(gather);
    media.getTracks().forEach((track) => track.addEventListener("ended", () => this.close()));
  }

  /** Hertz, of the chunks. */
  get sampleRate() {
    return this.#context.sampleRate;
  }

  /** End; the iteration ends after the chunks that are here already. */
  close() {
    if (!this.#open) return;
    this.#open = false;
    stop(this.#media);
    this.#context.close();
    this.#wake();
  }

  /** @returns {AsyncGenerator<Float32Array, void, void>} */
  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        if (this.#waitingS > BACKLOG_S) {
          throw new LightserError(`${BACKLOG_S} s of audio wait: this machine is too slow for the model.`);
        }
        const chunk = this.#waiting.shift();
        if (chunk) {
          this.#waitingS -= chunk.length / this.sampleRate;
          yield chunk;
        } else if (this.#open) {
          await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
        } else {
          return;
        }
      }
    } finally {
      this.close();
    }
  }
}
