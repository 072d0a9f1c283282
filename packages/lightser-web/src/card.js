import { BadModel } from "./errors.js";

export const FORMAT = 1;
export const CARD = "card.json";
export const MODEL = "model.onnx";

/**
 * What a model says of itself: `card.json`, word for word. docs/card.md of lightser explains each.
 *
 * @typedef {object} Card
 * @property {string} name
 * @property {string} system
 * @property {string[]} labels in the order of the model's outputs
 * @property {number} sample_rate hertz
 * @property {number} window_s longest stretch that is given to the model at once
 * @property {number} min_s shortest; what is shorter is padded with zeros on both sides
 * @property {TrainedOn[]} trained_on
 * @property {string} license of the weights
 * @property {Score[]} scores on held-out voices
 * @property {string} recipe
 * @property {string} commit
 * @property {number} seed
 * @property {number} parameters
 * @property {Record<string, {sha256: string, bytes: number}>} files
 * @property {number} temperature
 * @property {string} intended_use
 * @property {string} limits
 * @property {string} created
 * @property {number} format
 */

/**
 * @typedef {object} TrainedOn
 * @property {string} corpus
 * @property {string} title
 * @property {string} license
 * @property {string} url
 * @property {number} utterances
 * @property {number} speakers
 * @property {string} language
 */

/**
 * @typedef {object} Score
 * @property {string} corpus
 * @property {string} protocol
 * @property {string} protocol_note
 * @property {string} selected_on
 * @property {number} ua
 * @property {number} wa
 * @property {number} macro_f1
 * @property {[number, number]} ua_interval
 * @property {string} interval
 * @property {number[]} seeds
 * @property {string} recipe
 * @property {string} commit
 * @property {number} n_utterances
 * @property {string[]} [labels] that it chose from, if not from all
 */

/**
 * Return the card in the bytes of a `card.json`.
 *
 * @param {Uint8Array} bytes
 * @returns {Card}
 * @throws {BadModel} it is none, of another format, or something that recognising needs is missing
 */
export function parseCard(bytes) {
  /** @type {any} */
  let card;
  try {
    card = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new BadModel(`${CARD} cannot be read: ${/** @type {Error} */ (error).message}`);
  }
  if (typeof card !== "object" || card === null || Array.isArray(card)) {
    throw new BadModel(`${CARD} holds no card: expected an object.`);
  }
  if (card.format !== FORMAT) {
    const found = JSON.stringify(card.format) ?? "none";
    throw new BadModel(`${CARD} has format ${found}; this version reads ${FORMAT}.`);
  }
  const labels = Array.isArray(card.labels) ? card.labels : [];
  const isName = (/** @type {unknown} */ label) => typeof label === "string" && label !== "";
  const facts = card.files?.[MODEL];
  const checks = /** @type {[boolean, string][]} */ ([
    [labels.length >= 2 && labels.every(isName), "labels: expected two texts or more"],
    [new Set(labels).size === labels.length, "labels: one is there twice"],
    [
      Number.isInteger(card.sample_rate) && card.sample_rate >= 4000 && card.sample_rate <= 192000,
      `sample_rate: expected 4000 to 192000, got ${card.sample_rate}`,
    ],
    [Number.isFinite(card.min_s) && card.min_s > 0, `min_s: ${card.min_s} is not above 0`],
    [
      Number.isFinite(card.window_s) && card.window_s >= card.min_s,
      `window_s: ${card.window_s} is shorter than min_s, ${card.min_s}`,
    ],
    [
      /^[0-9a-f]{64}$/.test(facts?.sha256) && Number.isInteger(facts?.bytes),
      `files: '${MODEL}' is missing, or has no SHA-256`,
    ],
  ]);
  for (const [ok, complaint] of checks) {
    if (!ok) throw new BadModel(`Card of '${card.name}': ${complaint}.`);
  }
  return card;
}
