// Writes src/fvad-wasm.js: the voice activity detector of the npm package, as text in a module, so
// that bundlers need to place no file. Run it after a change of its version: npm run fvad
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/**
 * Return what src/fvad-wasm.js must hold.
 *
 * @returns {Promise<string>}
 */
export async function fvadModule() {
  const read = (name) => readFile(new URL(import.meta.resolve(`@echogarden/fvad-wasm/${name}`)));
  const { name, version } = JSON.parse((await read("package.json")).toString());
  const license = (await read("LICENSE")).toString().replace(/^=+\s*/, "").trim();
  return [
    `// ${name} ${version}, its fvad.wasm in base64. Written by scripts/fvad.js, not by hand.`,
    "//",
    ...license.split(/\r?\n/).map((line) => `// ${line}`.trimEnd()),
    `export const FVAD_WASM =\n  "${(await read("fvad.wasm")).toString("base64")}";`,
    "",
  ].join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(new URL("../src/fvad-wasm.js", import.meta.url), await fvadModule());
}
