import { BadAudio } from "./errors.js";
import { toMono } from "./samples.js";

/** @typedef {import("./samples.js").Clip} Clip */

// Bytes of a sample to its value, by the format's code and bits.
/** @type {Record<string, (view: DataView, at: number) => number>} */
const READERS = {
  "1/8": (view, at) => (view.getUint8(at) - 128) / 2 ** 7,
  "1/16": (view, at) => view.getInt16(at, true) / 2 ** 15,
  "1/24": (view, at) => ((view.getUint16(at, true) | (view.getInt8(at + 2) << 16)) / 2 ** 23),
  "1/32": (view, at) => view.getInt32(at, true) / 2 ** 31,
  "3/32": (view, at) => view.getFloat32(at, true),
  "3/64": (view, at) => view.getFloat64(at, true),
};
const EXTENSIBLE = 0xfffe;

/**
 * Say whether a file is a WAV.
 *
 * @param {DataView} view
 */
export const isWav = (view) =>
  view.byteLength >= 12 && text(view, 0) === "RIFF" && text(view, 8) === "WAVE";

/**
 * Return the samples of an uncompressed WAV, exactly: what browsers decode may be scaled by
 * 32768/32767. Channels are mixed as `toMono` does. A file that is cut short is read as far as it goes.
 *
 * @param {ArrayBuffer} bytes
 * @returns {Clip}
 * @throws {BadAudio} it is no WAV, or one of a kind that is not read here
 */
export function decodeWav(bytes) {
  const view = new DataView(bytes);
  if (!isWav(view)) throw new BadAudio("This is no WAV file.");
  let format = 0;
  let channels = 0;
  let rate = 0;
  let aligned = 0; // bytes of a frame
  let bits = 0;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const [id, size] = [text(view, at), view.getUint32(at + 4, true)];
    const body = at + 8;
    if (id === "fmt " && body + 16 <= view.byteLength) {
      format = view.getUint16(body, true);
      channels = view.getUint16(body + 2, true);
      rate = view.getUint32(body + 4, true);
      aligned = view.getUint16(body + 12, true);
      bits = view.getUint16(body + 14, true);
      if (format === EXTENSIBLE && body + 26 <= view.byteLength) {
        format = view.getUint16(body + 24, true);
      }
    }
    if (id === "data") {
      const read = READERS[`${format}/${bits}`];
      if (!read || !channels || !rate) {
        throw new BadAudio(`A WAV of format ${format} with ${bits} bits is not read here.`);
      }
      const frame = (channels * bits) / 8;
      if (frame !== aligned) {
        throw new BadAudio(`A WAV of ${bits} bits in frames of ${aligned} bytes is not read here.`);
      }
      const frames = Math.floor(Math.min(size, view.byteLength - body) / frame);
      const all = Array.from({ length: channels }, (_, c) => {
        const channel = new Float32Array(frames);
        for (let i = 0; i < frames; i++) channel[i] = read(view, body + i * frame + (c * bits) / 8);
        return channel;
      });
      return toMono(all, rate);
    }
    at = body + size + (size % 2);
  }
  throw new BadAudio("A WAV file without samples.");
}

/**
 * @param {DataView} view
 * @param {number} at
 */
const text = (view, at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
