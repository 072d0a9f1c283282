// A bar per emotion, in the order of the model, so that each keeps its place; and whether the model
// may choose it.

import { percent } from "./words.js";

export class Bars {
  #rows = new Map();

  /** Make the bars; `onChoice` is given the labels that are left, two or more. */
  constructor(list, labels, colours, onChoice) {
    list.replaceChildren(
      ...labels.map((label) => {
        const row = document.createElement("li");
        const [name, track, share] = ["label", "span", "span"].map((tag) => document.createElement(tag));
        const fill = document.createElement("i");
        const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
        box.onchange = () => onChoice(this.#settle());
        name.className = "name";
        name.append(box, label);
        track.className = "track";
        fill.style.background = colours[label];
        track.append(fill);
        share.className = "share";
        row.append(name, track, share);
        this.#rows.set(label, { row, box, fill, share });
        return row;
      }),
    );
    this.#settle();
    this.show({});
  }

  /** Return the labels that are left, of which the last two stay. */
  #settle() {
    const left = [...this.#rows].filter(([, { box }]) => box.checked).map(([label]) => label);
    for (const { row, box } of this.#rows.values()) {
      row.classList.toggle("out", !box.checked);
      box.disabled = box.checked && left.length <= 2;
    }
    return left;
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
