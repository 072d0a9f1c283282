// What there is to choose from: samples, models, and who listens.

import { EMOTION_COLOURS } from "./colours.js";

const element = (id) => document.getElementById(id);
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

const NAMES = { happiness: "joy", sadness: "sorrow" };

export function offerSamples(samples, onChoice) {
  const buttons = samples.map(({ file, label }) =>
    make("button", {
      type: "button",
      disabled: true,
      className: "sample",
      textContent: NAMES[label] ?? label,
      onclick: () => onChoice(`/page/samples/${file}`, file),
    }),
  );
  const between = (i) => (i === buttons.length - 1 ? "." : i === buttons.length - 2 ? " or " : ", ");
  const known = make("span", { id: "known" });
  element("samples").append(...buttons.flatMap((button, i) => [button, between(i)]), known);
}

/** The samples are of Emo-DB; say so to those who would be impressed by a model that learned them. */
export function sayWhatItKnows({ trained_on: corpora }) {
  const isKnown = corpora.some(({ corpus }) => corpus === "emodb");
  element("known").textContent = isKnown ? " It knows these from its training." : "";
}

export function offerChoices(models, isInBrowser, { onModel, onEngine }) {
  const box = element("choices");
  box.replaceChildren();
  if (models.length > 1) {
    const select = make("select", { onchange: () => onModel(models[select.selectedIndex]) });
    select.setAttribute("aria-label", "Model");
    select.append(...models.map(({ name }) => new Option(name, name)));
    box.append(select);
  }
  if (!isInBrowser) return;
  const group = make("span", { className: "switch" });
  group.setAttribute("role", "radiogroup");
  group.setAttribute("aria-label", "Who listens");
  for (const [value, words] of [["browser", "this browser"], ["service", "the service"]]) {
    const radio = make("input", { type: "radio", name: "engine", value, onchange: () => onEngine(value) });
    const label = make("label", {});
    label.append(radio, words);
    group.append(label);
  }
  box.append("Listens:", group);
}

export function sayWhoListens(kind, reason) {
  const isHere = kind === "browser";
  document.body.dataset.engine = kind;
  element("engine-text").textContent = isHere ? "Runs in this browser" : `Runs on ${location.host}`;
  element("promise").textContent = isHere ? ", audio stays here" : "";
  element("privacy").textContent = isHere
    ? "Your audio stays in this browser: it is decoded, listened to and forgotten here."
    : `Audio is sent to the service at ${location.host}, which forgets it after the answer${reason}.`;
  for (const radio of document.querySelectorAll("[name=engine]")) radio.checked = radio.value === kind;
}

/** Draw a voice in colours, as an invitation. */
function drawWave() {
  const shades = ["sadness", "calm", "anger", "happiness", "fear"].map((name) => EMOTION_COLOURS[name]);
  for (let i = 0; i < 40; i++) {
    const height = 4 + 38 * Math.abs(Math.sin(i * 0.43) * Math.sin(i * 0.117 + 0.35));
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const box = { x: 6 * i + 1.5, y: 24 - height / 2, width: 3, height, rx: 1.5, fill: shades[Math.floor(i / 8)] };
    for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
    element("wave-bars").append(bar);
  }
}

drawWave();
