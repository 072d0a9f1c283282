// What was heard of a voice, where the reader wants it learned: kept in this browser alone.

const IS_ON = "lightser.voice";

const element = (id) => document.getElementById(id);

/** The storage of this browser; a private window may have none, and then nothing outlives the page. */
const stored = {
  get(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name, text) {
    try {
      if (text === null) localStorage.removeItem(name);
      else localStorage.setItem(name, text);
    } catch {
      // as said above
    }
  },
};

/** The voice that one model listens to: its adaptation, as JSON holds it, or null. */
export class Voice {
  #kept = null;
  #before = null; // what was known when what is shown was heard first
  #isAgain = false;

  /** @param {string} sha256 of the model, without which an adaptation means nothing */
  constructor(sha256) {
    this.name = `${IS_ON}.${sha256}`;
    try {
      this.#kept = JSON.parse(stored.get(this.name) ?? "null");
    } catch {
      this.forget();
    }
    element("learn").checked = stored.get(IS_ON) === "yes";
    element("learn").onchange = () => {
      stored.set(IS_ON, this.isOn ? "yes" : null);
      this.#show();
    };
    element("forget").onclick = () => this.forget();
    this.#show();
  }

  get isOn() {
    return element("learn").checked;
  }

  /** Begin to hear something. What is heard again is answered as at first, and not learned twice. */
  begin(isAgain) {
    if (!isAgain) this.#before = this.#kept;
    this.#isAgain = isAgain;
  }

  /** What is known of the voice, to go by; null if nothing is. */
  get before() {
    return this.#before;
  }

  /** Keep what is known after something was heard. */
  learned(adaptation) {
    if (this.#isAgain || !this.isOn) return;
    this.#kept = adaptation;
    stored.set(this.name, JSON.stringify(adaptation));
    this.#show();
  }

  forget() {
    this.#kept = this.#before = null;
    stored.set(this.name, null);
    this.#show();
  }

  #show() {
    const n = this.#kept?.count ?? 0;
    element("forget").hidden = n === 0;
    const known = n === 0 ? "Nothing is known of it yet" : `Adapted to ${n} window${n === 1 ? "" : "s"}`;
    element("learned").textContent = this.isOn
      ? `${known}. It goes by what your recordings have in common, so let several emotions occur.`
      : n === 0 ? "" : `${known}; not gone by now.`;
  }
}
