// A little of Protocol Buffers, as much as it takes to make inputs of what ONNX Runtime for the web
// would not let be given: initializers that are inputs, too, and so may be left out elsewhere.
// https://protobuf.dev/programming-guides/encoding, fields of https://github.com/onnx/onnx.

const GRAPH = 7; // of a model
const INITIALIZER = 5; // of a graph
const [NAME, RAW_DATA] = [8, 9]; // of a tensor

/**
 * Return a model whose initializers of these names are gone, and their numbers.
 *
 * @param {Uint8Array} model
 * @param {string[]} names
 * @returns {{model: Uint8Array, values: Record<string, Float32Array>}}
 * @throws {RangeError} it is no message of this kind
 */
export function withoutInitializers(model, names) {
  /** @type {Record<string, Float32Array>} */
  const values = {};
  const outside = [...fields(model)].map(({ number, whole, content }) => {
    if (number !== GRAPH) return whole;
    const kept = [...fields(content)].filter((field) => {
      if (field.number !== INITIALIZER) return true;
      const parts = [...fields(field.content)];
      const name = new TextDecoder().decode(parts.find((part) => part.number === NAME)?.content);
      if (!names.includes(name)) return true;
      const raw = parts.find((part) => part.number === RAW_DATA)?.content ?? new Uint8Array(0);
      values[name] = new Float32Array(raw.slice().buffer);
      return false;
    });
    const graph = joined(kept.map((field) => field.whole));
    return joined([varint((GRAPH << 3) | 2), varint(graph.length), graph]);
  });
  return { model: joined(outside), values };
}

/**
 * Give the fields of a message: number, content, and the whole of it as it is written.
 *
 * @param {Uint8Array} message
 * @returns {Generator<{number: number, content: Uint8Array, whole: Uint8Array}>}
 */
function* fields(message) {
  let at = 0;
  const next = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= message.length) throw new RangeError("a number that ends too early");
      const byte = message[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const began = at;
    const tag = next();
    const [kind, number] = [tag & 7, Math.floor(tag / 8)];
    let start = at;
    if (kind === 0) {
      next();
    } else if (kind === 2) {
      const size = next();
      start = at;
      at += size;
    } else if (kind === 1 || kind === 5) {
      at += kind === 1 ? 8 : 4;
    } else {
      throw new RangeError(`a field of kind ${kind}`);
    }
    if (at > message.length) throw new RangeError("a field that ends too early");
    yield { number, content: message.subarray(start, at), whole: message.subarray(began, at) };
  }
}

/** @param {number} value */
function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.of(...bytes, value);
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
