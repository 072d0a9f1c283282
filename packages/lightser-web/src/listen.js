import { Microphone } from "./microphone.js";
import { Stream } from "./stream.js";

/**
 * Listen to the microphone, and give a segment for every window that is full.
 *
 *     for await (const segment of listen(recognizer, { hopS: 1, smoothing: {} })) …
 *
 * Ends when `signal` is aborted, with the segment that was under way, or when the loop is left.
 *
 * @param {import("./recognizer.js").Recognizer} recognizer
 * @param {import("./recognizer.js").Cut & {
 *   signal?: AbortSignal, deviceId?: string, worklet?: string | URL
 * }} [options]
 * @returns {AsyncGenerator<import("./recognizer.js").Segment, void, void>}
 * @throws {import("./errors.js").LightserError} windows that do not fit, or no microphone
 */
export async function* listen(recognizer, { signal, deviceId, worklet, ...cut } = {}) {
  new Stream(recognizer, cut); // so that what does not fit is said before anyone is asked
  let microphone;
  try {
    microphone = await Microphone.open({ deviceId, worklet, signal });
  } catch (error) {
    if (signal?.aborted) return;
    throw error;
  }
  const stream = new Stream(recognizer, { ...cut, sampleRate: microphone.sampleRate });
  const close = () => microphone.close();
  signal?.addEventListener("abort", close);
  try {
    for await (const chunk of microphone) yield* await stream.push(chunk);
    yield* await stream.flush();
  } finally {
    signal?.removeEventListener("abort", close);
    close();
  }
}
