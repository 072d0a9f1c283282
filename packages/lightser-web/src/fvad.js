import { LightserError } from "./errors.js";

/**
 * WebRTC's voice activity detector, compiled. Numbers that are `detector`s and addresses are places
 * in `memory`.
 *
 * @typedef {object} Fvad
 * @property {() => number} create gives a detector; 0 if there is no memory left
 * @property {(detector: number) => void} free
 * @property {(detector: number, mode: number) => number} setMode
 * @property {(detector: number, rate: number) => number} setSampleRate
 * @property {(detector: number, frame: number, length: number) => number} process gives 1 for a
 *   frame with speech
 * @property {number} frame address of room for a frame
 * @property {WebAssembly.Memory} memory
 */

const LONGEST_FRAME = 2 * 0.03 * 48_000; // bytes

/**
 * Compile the detector. It is not loaded before, since most pages have no microphone.
 *
 * @returns {Promise<Fvad>}
 * @throws {LightserError} the page allows no WebAssembly
 */
export async function compileFvad() {
  const { FVAD_WASM } = await import("./fvad-wasm.js");
  const bytes = Uint8Array.from(atob(FVAD_WASM), (char) => char.charCodeAt(0));
  // Short names are those of the build. It asks for two things: to say what broke, and to grow.
  const asked = { a: { a: failed, b: () => 0 } };
  let exports;
  try {
    ({ exports } = (await WebAssembly.instantiate(bytes, asked)).instance);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new LightserError(`The voice activity detector cannot be compiled here: ${reason}`);
  }
  const [create, allocate, free, setMode, setSampleRate, process] = [..."efhjkl"].map(
    (name) => /** @type {(...numbers: number[]) => number} */ (exports[name]),
  );
  const memory = /** @type {WebAssembly.Memory} */ (exports.c);
  return { create, free, setMode, setSampleRate, process, memory, frame: allocate(LONGEST_FRAME) };
}

function failed() {
  throw new LightserError("The voice activity detector broke; load another gate.");
}
