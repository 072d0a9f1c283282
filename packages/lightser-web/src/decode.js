import { BadAudio } from "./errors.js";
import { toMono } from "./samples.js";
import { decodeWav, isWav } from "./wav.js";

// Web Audio resamples to the rate of its context, with a plainer filter than ours. So the context
// is given the rate of the file, where we can tell it.
const USUAL_RATE = 48_000;

/**
 * Decode an audio file of any format that the browser knows; uncompressed WAV is decoded here.
 *
 * @param {ArrayBuffer} bytes
 * @returns {Promise<import("./samples.js").Clip>}
 * @throws {BadAudio} the browser cannot decode it
 */
export async function decode(bytes) {
  if (isWav(new DataView(bytes))) {
    try {
      return decodeWav(bytes);
    } catch {
      // compressed: perhaps the browser knows it
    }
  }
  if (!globalThis.OfflineAudioContext) throw new BadAudio("Only WAV files can be decoded here.");
  const context = contextOf(rateOf(bytes) ?? USUAL_RATE);
  let audio;
  try {
    audio = await context.decodeAudioData(bytes.slice(0)); // which it takes away
  } catch {
    throw new BadAudio("This browser cannot decode the file; convert it to WAV, FLAC or MP3.");
  }
  const channels = Array.from({ length: audio.numberOfChannels }, (_, c) => audio.getChannelData(c));
  return toMono(channels, audio.sampleRate);
}

/** @param {number} rate */
function contextOf(rate) {
  try {
    return new OfflineAudioContext(1, 1, rate);
  } catch {
    return new OfflineAudioContext(1, 1, USUAL_RATE); // a rate that the browser does not know
  }
}

/**
 * Return the sample rate that the head of a file tells, or null.
 *
 * @param {ArrayBuffer} bytes
 * @returns {number | null}
 */
export function rateOf(bytes) {
  const view = new DataView(bytes);
  const head = String.fromCharCode(...new Uint8Array(bytes, 0, Math.min(bytes.byteLength, 65_536)));
  const at = (/** @type {string} */ mark) => {
    const found = head.indexOf(mark);
    return found < 0 || found + mark.length + 28 > head.length ? -1 : found;
  };
  if (head.startsWith("RIFF")) return at("fmt ") < 0 ? null : view.getUint32(at("fmt ") + 12, true);
  if (head.startsWith("fLaC") && head.length > 21) return view.getUint32(18) >>> 12;
  if (head.startsWith("OggS")) {
    if (at("\x01vorbis") >= 0) return view.getUint32(at("\x01vorbis") + 12, true);
    return at("OpusHead") >= 0 ? 48_000 : null;
  }
  if (at("ftyp") === 4) return at("mp4a") >= 0 ? view.getUint16(at("mp4a") + 28) || null : null;
  return mpegRate(view);
}

/**
 * Return the rate of the first frame of an MPEG stream, behind its tag.
 *
 * @param {DataView} view
 */
function mpegRate(view) {
  let at = 0;
  if (view.byteLength > 10 && (view.getUint32(0) >>> 8) === 0x494433) {
    // "ID3", and a length of four times seven bits
    at = 10 + [6, 7, 8, 9].reduce((size, i) => (size << 7) | (view.getUint8(i) & 0x7f), 0);
  }
  for (const end = Math.min(at + 4096, view.byteLength - 4); at < end; at++) {
    const frame = view.getUint32(at);
    const [version, layer] = [(frame >>> 19) & 3, (frame >>> 17) & 3];
    const [bitrate, rate] = [(frame >>> 12) & 15, (frame >>> 10) & 3];
    if (frame >>> 21 === 0x7ff && version !== 1 && layer && bitrate && bitrate < 15 && rate < 3) {
      return [44_100, 48_000, 32_000][rate] / [4, 1, 2, 1][version];
    }
  }
  return null;
}
