// What was heard, shown: a headline, the timeline with its cursor, bars, a table.

import { Bars } from "./bars.js";
import { coloursOf } from "./colours.js";
import { Player } from "./player.js";
import { asCsv, fillTable, save } from "./table.js";
import { Timeline } from "./timeline.js";
import { clock, percent, runnersUp } from "./words.js";

const SILENCE = 0.005; // -46 dB: a window that is nowhere louder is called silence, gate or not

const element = (id) => document.getElementById(id);
const write = (id, words) => (element(id).textContent = words);

export class Stage {
  #box = element("stage");
  #slider = element("timeline");
  #timeline = new Timeline(this.#slider, element("canvas"));
  #player = new Player((seconds) => this.#move(seconds));
  #card = null;
  #colours = {};
  #bars = null;
  #shown = null; // {name, labels, whole, segments} of a recording
  #isLive = false;
  #isBlind = false; // the samples are not known here
  #onChoice;

  /** Set the stage; `onChoice` is given the emotions that the model may choose from now on. */
  constructor(onChoice) {
    this.#onChoice = onChoice;
    element("play").onclick = () => (this.#player.playing ? this.#player.pause() : this.#player.play());
    element("save-csv").onclick = () =>
      save("segments.csv", "text/csv", asCsv(this.#shown.labels, this.#shown.segments));
    element("save-json").onclick = () => {
      const { name: source, whole, segments } = this.#shown;
      const content = { model: this.#card.name, source, whole, segments };
      save("segments.json", "application/json", JSON.stringify(content, null, 2));
    };
    this.#slider.onpointerdown = (event) => {
      this.#goTo(this.#timeline.secondsAt(event.clientX));
      this.#slider.setPointerCapture(event.pointerId);
    };
    this.#slider.onpointermove = (event) => {
      if (event.buttons) this.#goTo(this.#timeline.secondsAt(event.clientX));
    };
    this.#slider.onkeydown = (event) => this.#press(event);
  }

  /** Whose answers are shown from now on; those of another model are taken away. */
  set card(card) {
    this.#card = card;
    this.#colours = coloursOf(card.labels);
    this.#bars = new Bars(element("bars"), card.labels, this.#colours, this.#onChoice);
    this.#player.clip = null;
    this.#shown = null;
    element("empty").hidden = false;
    element("result").hidden = true;
    document.body.classList.remove("shows");
  }

  /** Seconds that were heard. */
  get duration() {
    return this.#timeline.duration;
  }

  /**
   * Begin with a recording of which `rate` samples are a second, and a segment every `hopS`; the model
   * chooses from `labels`. Where it is heard again, the reader is not taken elsewhere.
   */
  begin(name, { labels, rate, hopS, isLive = false, isBlind = false, isAgain = false, warnings = [] }) {
    this.#player.clip = null;
    this.#shown = { name, labels, whole: null, segments: [] };
    [this.#isLive, this.#isBlind] = [isLive, isBlind];
    this.#timeline.begin({ labels, colours: this.#colours, rate, hopS, live: isLive });
    element("empty").hidden = true;
    element("result").hidden = false;
    document.body.classList.add("shows");
    this.#box.classList.toggle("live", isLive);
    element("stop").hidden = !isLive;
    element("another").hidden = element("again").hidden = isLive;
    element("play").disabled = true;
    element("more").hidden = true;
    for (const id of ["heard", "then", "say", "moment", "clock"]) write(id, "");
    write("source", name);
    write("warnings", warnings.join(" "));
    this.#slider.setAttribute("aria-valuenow", "0");
    for (const fact of ["valuetext", "valuemax"]) this.#slider.removeAttribute(`aria-${fact}`);
    write("bars-title", isLive ? "Now" : "The whole clip");
    if (isLive) write("heard", "Listening …");
    this.#bars.show({});
    delete this.#box.dataset.done;
    if (!isAgain) (isLive ? element("stop") : this.#slider).focus({ preventScroll: true });
  }

  /** Draw samples that follow those before. */
  hear(samples) {
    this.#timeline.hear(samples);
    if (this.#isLive) write("clock", clock(this.duration));
  }

  /** Say whether nobody speaks in a segment: none are gated but those of the microphone. */
  isSilent({ start, end, label }) {
    return label === "silence" || (!this.#isBlind && this.#timeline.loudest(start, end) < SILENCE);
  }

  /** Draw a segment; of a live one, say what it is. */
  take(segment) {
    const isSilent = this.isSilent(segment);
    const isUngated = isSilent && segment.label !== "silence";
    const silence = { label: "silence", confidence: 1, probabilities: {} };
    const taken = isUngated ? { ...segment, ...silence } : segment;
    this.#shown.segments.push(taken);
    this.#timeline.add(taken);
    if (!this.#isLive) return;
    if (isSilent) this.#sayOnly("Silence");
    else this.#say(segment);
    this.#bars.show(taken.probabilities);
  }

  /** Say what the whole sounds like. */
  conclude(whole, isAverage) {
    this.#shown.whole = whole;
    this.#say(whole, isAverage ? "on average" : "");
    this.#bars.show(whole.probabilities);
  }

  /** The recording is over: it can be played, and its segments read and saved. */
  finish(clip) {
    const { segments, name, labels, whole } = this.#shown;
    this.#isLive = false;
    this.#player.clip = clip;
    this.#timeline.finish();
    this.#timeline.at = null;
    this.#box.classList.remove("live");
    const wasOnStop = document.activeElement === element("stop");
    element("stop").hidden = true;
    element("another").hidden = element("again").hidden = false;
    element("play").disabled = this.#isBlind || !clip.samples.length;
    if (wasOnStop) this.#slider.focus({ preventScroll: true }); // with the button it would be lost
    element("more").hidden = segments.length === 0;
    fillTable(element("table"), labels, segments);
    if (!whole) {
      this.#sayOnly(segments.length ? "Silence" : "Too short to say");
      this.#bars.show({});
    }
    write("bars-title", "The whole clip");
    write("source", `${name} · ${clock(this.duration)}`);
    write("count", segments.length === 1 ? "1 segment" : `${segments.length} segments`);
    write("clock", `${clock(0)} / ${clock(this.duration)}`);
    write("moment", "");
    this.#slider.setAttribute("aria-valuemax", this.duration.toFixed(2));
    this.#box.dataset.done = name;
  }

  #sayOnly(words) {
    write("heard", words);
    write("then", "");
    write("say", words);
  }

  #say({ label, confidence, probabilities }, how = "") {
    // Twice a second would be too much for those who are read to: they hear of changes.
    if (how || !element("say").textContent.startsWith(label)) {
      write("say", `${label} ${percent(confidence)}${how ? `, ${how}` : ""}`);
    }
    const isMixed = how !== "" && confidence < 0.5;
    const named = isMixed ? this.#shown.labels.filter((name) => probabilities[name] >= 0.1) : [label];
    const dots = named.map((name) => {
      const dot = document.createElement("i");
      dot.style.background = this.#colours[name];
      return dot;
    });
    const [word, share] = [document.createElement("b"), document.createElement("span")];
    word.textContent = isMixed ? "It changes" : label;
    share.textContent = isMixed ? "" : percent(confidence);
    element("heard").replaceChildren(...dots, word, share);
    const first = isMixed ? `${label} ${percent(confidence)}` : "";
    const unsure = confidence < 0.5 && !isMixed ? "not sure" : "";
    const others = runnersUp(probabilities, label);
    write("then", [how, first || unsure, others && `then ${others}`].filter(Boolean).join(" · "));
  }

  #press(event) {
    const step = Math.max(this.duration / 50, 0.1);
    const at = this.#player.at;
    const moves = {
      ArrowRight: at + step,
      ArrowUp: at + step,
      ArrowLeft: at - step,
      ArrowDown: at - step,
      PageUp: at + 5 * step,
      PageDown: at - 5 * step,
      Home: 0,
      End: this.duration,
    };
    if (event.key in moves) this.#goTo(moves[event.key]);
    else if (event.key === " ") element("play").click();
    else return;
    event.preventDefault();
  }

  #goTo(seconds) {
    if (this.#isLive || !this.#shown) return;
    this.#player.seek(seconds);
    this.#move(this.#player.at);
  }

  /** The cursor is somewhere: show what was heard there. */
  #move(seconds) {
    if (!this.#shown || this.#isLive) return;
    const { playing } = this.#player;
    const segment = this.#timeline.segmentAt(seconds);
    const share = segment?.label === "silence" ? "" : ` ${percent(segment?.confidence ?? 0)}`;
    const words = segment ? segment.label + share : "";
    this.#timeline.at = seconds;
    element("play").classList.toggle("playing", playing);
    element("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    this.#slider.setAttribute("aria-valuenow", seconds.toFixed(2));
    this.#slider.setAttribute("aria-valuetext", `${seconds.toFixed(1)} s, ${words}`);
    const hasEnded = !playing && seconds >= this.duration;
    write("clock", `${clock(seconds)} / ${clock(this.duration)}`);
    write("moment", hasEnded ? "" : words);
    write("bars-title", hasEnded ? "The whole clip" : `At ${clock(seconds)}`);
    const moment = hasEnded ? this.#shown.whole : segment;
    this.#bars.show(moment?.probabilities ?? {});
  }
}
