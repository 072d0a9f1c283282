// Who listens: this browser, or the service. Both answer the same questions alike.

import { decode, loadGate, open, resampleInTurns, Stream } from "./lightser-web/core.js";

const MOST_WAITING = 2 ** 22; // bytes of a stream that is faster than the service

/** What went wrong, in words for the reader. */
export class Trouble extends Error {}

/** Ask the service for something under /v1, and turn a refusal into words. */
export async function ask(path, key, request = {}) {
  if (/[^\x20-\x7e]/.test(key)) {
    throw new Trouble("Keys have letters, digits and signs of ASCII alone; that one has others.");
  }
  const headers = { ...request.headers, ...(key ? { "X-API-Key": key } : {}) };
  let response;
  try {
    response = await fetch(path, { ...request, headers });
  } catch {
    throw new Trouble("The service does not answer; is it still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  const trouble = new Trouble(answer?.error?.message ?? `The service answered ${response.status}.`);
  trouble.status = response.status;
  throw trouble;
}

/** The model runs here, in WebAssembly; audio goes nowhere. */
export class BrowserEngine {
  kind = "browser";

  static async open(card, key) {
    const ort = await import("./onnxruntime-web/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL("./onnxruntime-web/", import.meta.url).href;
    const folder = `/v1/models/${encodeURIComponent(card.name)}`;
    const read = async (name) => {
      const response = await ask(`${folder}/${name}`, key);
      return new Uint8Array(await response.arrayBuffer());
    };
    return new BrowserEngine(await open(read, { ort }));
  }

  constructor(recognizer) {
    this.recognizer = recognizer;
    this.whole = recognizer;
  }

  /** The emotions to choose from, at least two of the model's. */
  get labels() {
    return this.recognizer.labels;
  }

  set labels(labels) {
    this.recognizer = this.whole.choosing(labels);
  }

  /** Return a clip at the model's rate, once for all questions about it. */
  async hear(clip) {
    const rate = this.recognizer.card.sample_rate;
    return { ...clip, samples: await resampleInTurns(clip.samples, clip.rate, rate), rate };
  }

  async predict(blob, clip) {
    const adaptation = this.#adaptation;
    let { recognizer } = this;
    if (adaptation) {
      await recognizer.adapt(clip.samples, clip.rate, adaptation);
      recognizer = recognizer.adapted(adaptation);
    }
    const whole = await recognizer.predict(clip.samples, clip.rate);
    if (adaptation) this.voice.learned(adaptation.toJSON());
    return { ...whole, warnings: clip.warnings };
  }

  /** Give segments as they are known; the page is drawn in between. */
  segments(blob, clip, cut) {
    return this.recognizer.segments(clip.samples, clip.rate, { ...cut, adaptation: this.#adaptation });
  }

  /** What was heard of the voice before, to be added to; undefined if it is not to be learned. */
  get #adaptation() {
    return this.voice.isOn ? this.recognizer.adaptation(this.voice.before ?? undefined) : undefined;
  }

  /** Return what takes chunks of samples, and calls back with segments, silence among them. */
  async stream(sampleRate, cut, onSegment) {
    this.gate ??= await loadGate();
    const adaptation = this.#adaptation;
    const stream = new Stream(this.recognizer, { ...cut, sampleRate, gate: this.gate, adaptation });
    const tell = (segments) => {
      if (adaptation && segments.length) this.voice.learned(adaptation.toJSON());
      segments.forEach(onSegment);
    };
    return {
      push: async (chunk) => tell(await stream.push(chunk)),
      end: async () => tell(await stream.flush()),
    };
  }

  release() {
    return this.recognizer.release();
  }
}

/** Return a key as the name of a protocol can hold it: browsers send no headers with a WebSocket. */
function inProtocol(key) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(key));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The model runs in the service, to which audio is sent. */
export class ServiceEngine {
  kind = "service";

  /**
   * @param {boolean} hasVad whether the service can tell silence
   * @param reason why not the browser, where it was to listen
   */
  constructor(card, key, hasVad = false, reason = "") {
    this.card = card;
    this.labels = card.labels;
    this.key = key;
    this.hasVad = hasVad;
    this.reason = reason;
  }

  /** Return a clip as it is; the file is what is sent. */
  async hear(clip) {
    return clip;
  }

  async predict(blob) {
    const response = await this.#post("/v1/predict", blob, {});
    const { label, confidence, probabilities, windows, warnings, ...rest } = await response.json();
    if (rest.adaptation) this.voice.learned(rest.adaptation);
    return { label, confidence, probabilities, durationS: rest.duration_s, windows, warnings };
  }

  async *segments(blob, clip, { windowS, hopS }) {
    const response = await this.#post("/v1/segments", blob, { window_s: windowS, hop_s: hopS });
    yield* (await response.json()).segments;
  }

  async stream(sampleRate, { windowS, hopS }, onSegment) {
    const address = new URL("/v1/stream", location.href.replace(/^http/, "ws"));
    address.search = new URLSearchParams({
      ...this.#asking,
      encoding: "float32",
      sample_rate: sampleRate,
      window_s: windowS,
      hop_s: hopS,
      vad: this.hasVad,
    });
    const socket = new WebSocket(address, this.key ? ["lightser", `lightser.key.${inProtocol(this.key)}`] : []);
    let refusal = null;
    const opened = new Promise((resolve) => (socket.onopen = resolve));
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.onmessage = ({ data }) => {
      const { type, message, ...content } = JSON.parse(data);
      if (type === "segment") onSegment(content);
      if (type === "end" && content.adaptation) this.voice.learned(content.adaptation);
      if (type === "error") refusal = new Trouble(message);
    };
    await Promise.race([opened, closed]);
    if (socket.readyState !== WebSocket.OPEN) throw new Trouble("The service refused the stream; it may be busy.");
    const { before } = this.voice;
    if (this.voice.isOn && before) socket.send(JSON.stringify({ type: "adaptation", adaptation: before }));
    return {
      push: async (chunk) => {
        while (socket.bufferedAmount > MOST_WAITING) await new Promise((resolve) => setTimeout(resolve, 20));
        if (socket.readyState !== WebSocket.OPEN) throw refusal ?? new Trouble("The service ended the stream.");
        socket.send(chunk);
      },
      end: async () => {
        if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "end" }));
        await closed;
        if (refusal) throw refusal;
      },
    };
  }

  async release() {}

  /** What to ask in a query: the model, and from which labels it may choose, if not from all. */
  get #asking() {
    const isAll = this.labels.length === this.card.labels.length;
    const adapt = this.voice.isOn ? { adapt: true } : {};
    return { model: this.card.name, ...(isAll ? {} : { labels: this.labels.join() }), ...adapt };
  }

  #post(path, blob, query) {
    const search = new URLSearchParams({ ...this.#asking, ...query });
    const { isOn, before } = this.voice;
    let body = blob;
    if (isOn && before) {
      body = new FormData();
      body.append("adaptation", JSON.stringify(before));
      body.append("file", blob);
    }
    return ask(`${path}?${search}`, this.key, { method: "POST", body });
  }
}

/** Return the samples of a file; they are drawn and played here, whoever listens. */
export const clipOf = async (blob) => decode(await blob.arrayBuffer());
