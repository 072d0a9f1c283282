import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { BadModel } from "./errors.js";
import { readerOf as readerOnTheWeb } from "./folder.js";

/**
 * Return what reads the files of a folder on disk, or on the web.
 *
 * @param {string | URL} model path or address of the folder, or of the model in it
 * @param {RequestInit} [request]
 * @returns {(name: string) => Promise<Uint8Array>}
 */
export function readerOf(model, request) {
  if (/^https?:/.test(String(model))) return readerOnTheWeb(model, request);
  const given = /^file:/.test(String(model)) ? fileURLToPath(model) : String(model);
  const folder = basename(given).endsWith(".onnx") ? dirname(given) : given;
  return async (name) => {
    try {
      return new Uint8Array(await readFile(join(folder, name)));
    } catch (error) {
      if (await stat(folder).catch(() => null)) {
        const reason = /** @type {NodeJS.ErrnoException} */ (error).code;
        throw new BadModel(`'${join(folder, name)}' cannot be read (${reason}).`);
      }
      throw new BadModel(`There is no model folder '${folder}'.`);
    }
  };
}
