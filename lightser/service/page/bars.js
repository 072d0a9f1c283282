// A bar per emotion, in the order of the model, so that each keeps its place.

import { percent } from "./words.js";

export class Bars {
  #rows = new Map();

  constructor(list, labels, colours) {
    list.replaceChildren(
      ...labels.map((label) => {
        const row = document.createElement("li");
        const [name, track, share] = ["span", "span", "span"].map((tag) => document.createElement(tag));
        const fill = document.createElement("i");
        name.className = "name";
        name.textContent = label;
        track.className = "track";
        fill.style.background = colours[label];
        track.append(fill);
        share.className = "share";
        row.append(name, track, share);
        this.#rows.set(label, { row, fill, share });
        return row;
      }),
    );
    this.show({});
  }

  show(probabilities) {
    const best = Math.max(...Object.values(probabilities));
    for (const [label, { row, fill, share }] of this.#rows) {
      const value = probabilities[label] ?? 0;
      fill.style.transform = `scaleX(${value < 0.005 ? 0 : value})`;
      share.textContent = label in probabilities ? percent(value) : "";
      row.classList.toggle("best", value === best);
    }
  }
}
