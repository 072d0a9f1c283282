import { BadModel } from "./errors.js";

/**
 * Return what reads the files of a folder on the web.
 *
 * @param {string | URL} model address of the folder, or of the model in it
 * @param {RequestInit} [request]
 * @returns {(name: string) => Promise<Uint8Array>}
 */
export function readerOf(model, request) {
  const address = new URL(model, globalThis.document?.baseURI ?? globalThis.location?.href);
  if (/\.onnx$/.test(address.pathname)) address.pathname = address.pathname.replace(/[^/]*$/, "");
  else if (!address.pathname.endsWith("/")) address.pathname += "/";

  return async (name) => {
    const file = new URL(name, address);
    file.search = address.search; // signed addresses carry their signature there
    let response;
    try {
      response = await fetch(file, request);
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") throw error;
      throw new BadModel(`${file} cannot be fetched: ${/** @type {Error} */ (error).message}`);
    }
    if (!response.ok) throw new BadModel(`${file} cannot be fetched: status ${response.status}.`);
    return new Uint8Array(await response.arrayBuffer());
  };
}
