/**
 * SHA-256, as 64 hexadecimal digits.
 *
 * The platform's own where there is one. Pages that come over plain HTTP from another machine have
 * none, so the standard (FIPS 180-4) is here as well.
 *
 * @param {Uint8Array} bytes
 */
export async function sha256(bytes) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return sha256InScript(bytes);
  return inHex(new Uint8Array(await subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes))));
}

/** @param {Uint8Array} bytes */
export function sha256InScript(bytes) {
  const { constants, initial } = tables();
  const length = Math.ceil((bytes.length + 9) / 64) * 64;
  const padded = new Uint8Array(length);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(length - 4, (bytes.length * 8) >>> 0);

  const state = Uint32Array.from(initial);
  const w = new Uint32Array(64);
  for (let block = 0; block < length; block += 64) {
    for (let t = 0; t < 16; t++) w[t] = view.getUint32(block + 4 * t);
    for (let t = 16; t < 64; t++) {
      const s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >>> 3);
      const s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >>> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let t = 0; t < 64; t++) {
      const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[t] + w[t]) | 0;
      const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (state[i] += value));
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((value, i) => digest.setUint32(4 * i, value));
  return inHex(new Uint8Array(digest.buffer));
}

/** The first 32 bits of the fractions of cube and square roots of the first primes. */
function tables() {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
  const fraction = (/** @type {number} */ x) => ((x - Math.floor(x)) * 2 ** 32) >>> 0;
  return {
    constants: primes.map((p) => fraction(Math.cbrt(p))),
    initial: primes.slice(0, 8).map((p) => fraction(Math.sqrt(p))),
  };
}

/**
 * @param {number} x
 * @param {number} n
 */
const rotate = (x, n) => (x >>> n) | (x << (32 - n));

/** @param {Uint8Array} bytes */
const inHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
