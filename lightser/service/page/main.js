// The page: what is clicked, dropped, typed and spoken, and what is shown of the answers.

import { Bars } from "./bars.js";
import { coloursOf } from "./colours.js";
import { ask, BrowserEngine, clipOf, ServiceEngine, Trouble } from "./engines.js";
import { showFacts } from "./facts.js";
import { BadAudio, LightserError, Microphone, Smoother } from "./lightser-web/core.js";
import { Player } from "./player.js";
import { asCsv, fillTable, save } from "./table.js";
import { Timeline } from "./timeline.js";
import { clock, percent, runnersUp } from "./words.js";

const LONGEST_S = 3600; // of a file: its samples are held here
const LONGEST_LIVE_S = 600;
const LIVE_HOP_S = 0.5;
const SILENCE = 0.005; // -46 dB: a window that is nowhere louder is called silence

const element = (id) => document.getElementById(id);
const [stage, timelineBox, file] = ["stage", "timeline", "file"].map(element);

const timeline = new Timeline(timelineBox, element("canvas"));
const player = new Player(moved);
let setup = { in_browser: false, samples: [] };
let key = "";
let engine = null;
let card = null;
let colours = {};
let bars = null;
let shown = null; // {name, whole, segments} of what is on the stage
let running = 0; // counts what was begun, so that what is overtaken ends
let doing = Promise.resolve(); // what was begun last
let microphone = null;

// Beginning ------------------------------------------------------------------------------------

async function begin() {
  drawInvitation();
  setup = await (await fetch("/page/setup.json")).json();
  offerSamples();
  await openModels();
}

async function openModels() {
  let answer;
  try {
    answer = await (await ask("/v1/models", key)).json();
  } catch (error) {
    if (error.status !== 401) throw error;
    element("engine-text").textContent = "Locked";
    element("key-form").hidden = false;
    element("key").focus();
    return;
  }
  element("key-form").hidden = true;
  offerChoices(answer.models);
  await openModel(answer.models[0], setup.in_browser ? "browser" : "service");
}

async function openModel(chosen, kind) {
  enable(false);
  element("engine-text").textContent = "Waking up …";
  await engine?.release();
  if (card !== chosen) {
    card = chosen;
    colours = coloursOf(card.labels);
    bars = new Bars(element("bars"), card.labels, colours);
    showFacts(card);
    clearStage(); // what another model heard
  }
  let reason = "";
  if (kind === "browser") {
    try {
      engine = await BrowserEngine.open(card, key);
    } catch (error) {
      reason = ` (${error.message})`;
      engine = new ServiceEngine(card, key);
    }
  } else {
    engine = new ServiceEngine(card, key);
  }
  sayWhoListens(reason);
  enable(true);
}

function sayWhoListens(reason) {
  const here = engine.kind === "browser";
  document.body.dataset.engine = engine.kind;
  element("promise").textContent = here ? ", audio stays here" : "";
  element("engine-text").textContent = here ? "Runs in this browser" : `Runs on ${location.host}`;
  element("privacy").textContent = here
    ? "Your audio stays in this browser: it is decoded, listened to and forgotten here."
    : `Audio is sent to the service at ${location.host}, which forgets it after the answer${reason}.`;
  document.querySelectorAll("#choices [name=engine]").forEach((radio) => {
    radio.checked = radio.value === engine.kind;
  });
}

function enable(ready) {
  for (const button of document.querySelectorAll("#empty button, #another, #again")) button.disabled = !ready;
}

/** Several models, or two who can listen: let the reader choose. */
function offerChoices(models) {
  const box = element("choices");
  box.replaceChildren();
  if (models.length > 1) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", "Model");
    select.append(...models.map(({ name }) => new Option(name, name)));
    select.onchange = () => attempt(() => openModel(models[select.selectedIndex], engine.kind));
    box.append(select);
  }
  if (setup.in_browser) {
    const group = document.createElement("span");
    group.className = "switch";
    group.setAttribute("role", "radiogroup");
    group.setAttribute("aria-label", "Who listens");
    for (const [value, words] of [["browser", "this browser"], ["service", "the service"]]) {
      const label = document.createElement("label");
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: "engine", value });
      radio.onchange = () => attempt(() => openModel(card, value));
      label.append(radio, words);
      group.append(label);
    }
    box.append("Listens:", group);
  }
}

function offerSamples() {
  const names = { anger: "anger", happiness: "joy", sadness: "sorrow" };
  setup.samples.forEach(({ file: name, label }, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", disabled: true });
    button.className = "sample";
    button.textContent = names[label] ?? label;
    button.onclick = () => attempt(async (isLatest) => {
      const response = await fetch(`/page/samples/${name}`);
      await listenTo(await response.blob(), name, isLatest);
    });
    element("samples").append(i === 0 ? "" : i === setup.samples.length - 1 ? " or " : ", ", button);
  });
  element("samples").append(".");
}

function drawInvitation() {
  const group = element("wave-bars");
  const shades = ["#2a7fe6", "#35cdb9", "#e5392a", "#f2b90f", "#7c3f8f"];
  for (let i = 0; i < 40; i++) {
    const height = 4 + 38 * Math.abs(Math.sin(i * 0.43) * Math.sin(i * 0.117 + 0.35));
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const box = { x: 6 * i + 1.5, y: 24 - height / 2, width: 3, height, rx: 1.5, fill: shades[Math.floor(i / 8)] };
    for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
    group.append(bar);
  }
}

// A file ---------------------------------------------------------------------------------------

async function listenTo(blob, name, isLatest) {
  working(`Reading ${name} …`);
  let clip = null;
  try {
    clip = await clipOf(blob);
  } catch (error) {
    // The service knows formats that this browser does not.
    if (engine.kind === "browser" || !(error instanceof BadAudio)) throw error;
  }
  const seconds = clip ? clip.samples.length / clip.rate : 0;
  if (seconds > LONGEST_S) throw new Trouble("A recording of more than an hour; lightser predict takes it.");
  working("Listening …");
  const whole = await engine.predict(blob, clip);
  if (!isLatest()) return;
  const isBlind = clip === null;
  clip ??= { samples: new Float32Array(Math.round(whole.durationS * 1000)), rate: 1000 };
  const cut = { windowS: card.window_s, hopS: hopFor(whole.durationS) };
  present(name, { rate: clip.rate, hopS: cut.hopS, live: false });
  timeline.hear(clip.samples);
  player.clip = clip;
  Object.assign(shown, { whole, isBlind });
  sayHeard(whole, whole.windows > 1 ? "on average" : "");
  bars.show(whole.probabilities);
  for await (const segment of engine.segments(blob, clip, cut)) {
    if (!isLatest()) return;
    take(segment);
  }
  finish();
}

/** A step that gives a few hundred segments at most. */
const hopFor = (seconds) => [0.25, 0.5, 1, 2, 5].find((hop) => seconds / hop <= 400) ?? 10;

// The microphone -------------------------------------------------------------------------------

async function listenLive(isLatest) {
  microphone = await Microphone.open();
  if (!isLatest()) microphone.close(); // something else was asked for meanwhile
  const rate = microphone.sampleRate;
  const cut = { windowS: card.window_s, hopS: Math.min(LIVE_HOP_S, card.window_s) };
  present("Microphone", { rate, hopS: cut.hopS, live: true });
  element("heard").textContent = "Listening …";
  const smoother = new Smoother();
  const parts = [];
  const sum = Object.fromEntries(card.labels.map((label) => [label, 0]));
  const onSegment = (raw) => {
    if (isSilent(raw)) {
      smoother.reset(); // who speaks next need not feel as before
      take(raw);
      saySilence();
      return;
    }
    const shares = card.labels.map((label) => raw.probabilities[label]);
    card.labels.forEach((label, i) => (sum[label] += shares[i]));
    const smoothed = smoother.add(shares, raw.end);
    const label = card.labels[smoothed.label];
    const probabilities = Object.fromEntries(card.labels.map((name, i) => [name, smoothed.probabilities[i]]));
    const segment = { ...raw, label, confidence: probabilities[label], probabilities };
    take(segment);
    sayHeard(segment);
    bars.show(probabilities);
  };
  try {
    const stream = await engine.stream(rate, cut, onSegment);
    for await (const chunk of microphone) {
      parts.push(chunk);
      timeline.hear(chunk);
      element("clock").textContent = clock(timeline.duration);
      await stream.push(chunk.slice());
      if (timeline.duration >= LONGEST_LIVE_S) microphone.close();
    }
    await stream.end();
  } finally {
    microphone?.close();
    microphone = null;
    if (isLatest()) endLive(parts, rate, sum);
  }
}

function endLive(parts, rate, sum) {
  const samples = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (samples.set(part, at), at + part.length), 0);
  timeline.finish();
  player.clip = { samples, rate };
  const heard = Object.values(sum).reduce((a, b) => a + b); // of each segment, 1
  if (heard) {
    const mean = Object.fromEntries(Object.entries(sum).map(([label, total]) => [label, total / heard]));
    const [label, confidence] = Object.entries(mean).sort((a, b) => b[1] - a[1])[0];
    shown.whole = { label, confidence, probabilities: mean };
    sayHeard(shown.whole, "on average");
    bars.show(mean);
  } else {
    element("heard").textContent = shown.segments.length ? "Silence" : "Too short to say";
    element("then").textContent = "";
    bars.show({});
  }
  finish();
}

// What is shown --------------------------------------------------------------------------------

function clearStage() {
  player.clip = null;
  shown = null;
  element("empty").hidden = false;
  element("result").hidden = true;
  document.body.classList.remove("shows");
}

function present(name, { rate, hopS, live }) {
  working("");
  player.clip = null;
  shown = { name, whole: null, segments: [] };
  timeline.begin({ labels: card.labels, colours, rate, hopS, live });
  element("empty").hidden = true;
  element("result").hidden = false;
  stage.classList.toggle("live", live);
  element("source").textContent = name;
  element("stop").hidden = !live;
  element("another").hidden = element("again").hidden = live;
  element("play").disabled = true;
  element("bars-title").textContent = live ? "Now" : "The whole clip";
  document.body.classList.add("shows");
  for (const id of ["heard", "then", "say", "moment", "clock"]) element(id).textContent = "";
  bars.show({});
  document.querySelector(".more").hidden = true;
  (live ? element("stop") : timelineBox).focus({ preventScroll: true });
}

function take(segment) {
  const silence = { ...segment, label: "silence", confidence: 1, probabilities: {} };
  const taken = isSilent(segment) ? silence : segment;
  shown.segments.push(taken);
  timeline.add(taken);
}

const isSilent = ({ start, end }) => !shown.isBlind && timeline.loudest(start, end) < SILENCE;

function saySilence() {
  element("heard").textContent = "Silence";
  element("then").textContent = "";
  element("say").textContent = "silence";
  bars.show({});
}

function finish() {
  const { segments, name } = shown;
  stage.classList.remove("live");
  element("stop").hidden = true;
  element("another").hidden = element("again").hidden = false;
  element("play").disabled = Boolean(shown.isBlind);
  element("bars-title").textContent = "The whole clip";
  element("source").textContent = `${name} · ${clock(timeline.duration)}`;
  element("count").textContent = segments.length === 1 ? "1 segment" : `${segments.length} segments`;
  fillTable(element("table"), card.labels, segments);
  document.querySelector(".more").hidden = segments.length === 0;
  timelineBox.setAttribute("aria-valuemax", timeline.duration.toFixed(2));
  timeline.at = null;
  element("clock").textContent = `${clock(0)} / ${clock(timeline.duration)}`;
  element("moment").textContent = "";
  stage.dataset.done = running;
}

function sayHeard({ label, confidence, probabilities }, how = "") {
  // Twice a second would be too much for those who are read to: they hear of changes.
  if (how || !element("say").textContent.startsWith(label)) {
    element("say").textContent = `${label} ${percent(confidence)}${how ? `, ${how}` : ""}`;
  }
  const isMixed = how !== "" && confidence < 0.5;
  const named = isMixed ? card.labels.filter((name) => probabilities[name] >= 0.1) : [label];
  const dots = named.map((name) => {
    const dot = document.createElement("i");
    dot.style.background = colours[name];
    return dot;
  });
  const word = document.createElement("b");
  word.textContent = isMixed ? "It changes" : label;
  const share = document.createElement("span");
  share.textContent = isMixed ? "" : percent(confidence);
  element("heard").replaceChildren(...dots, word, share);
  const first = isMixed ? `${label} ${percent(confidence)}` : "";
  const unsure = confidence < 0.5 && !isMixed ? "not sure" : "";
  const others = runnersUp(probabilities, label);
  element("then").textContent = [how, first || unsure, others && `then ${others}`].filter(Boolean).join(" · ");
}

/** The cursor is somewhere: show what was heard there. */
function moved(seconds) {
  if (!shown) return;
  timeline.at = seconds;
  element("play").classList.toggle("playing", player.playing);
  element("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  element("clock").textContent = `${clock(seconds)} / ${clock(timeline.duration)}`;
  timelineBox.setAttribute("aria-valuenow", seconds.toFixed(2));
  const segment = timeline.segmentAt(seconds);
  const share = segment?.label === "silence" ? "" : ` ${percent(segment?.confidence ?? 0)}`;
  const words = segment ? segment.label + share : "";
  timelineBox.setAttribute("aria-valuetext", `${seconds.toFixed(1)} s, ${words}`);
  const ended = !player.playing && seconds >= timeline.duration;
  const moment = ended ? null : segment;
  element("moment").textContent = moment ? words : "";
  element("bars-title").textContent = moment ? `At ${clock(seconds)}` : "The whole clip";
  bars.show(moment?.probabilities ?? shown.whole?.probabilities ?? {});
}

function working(words) {
  element("working").hidden = !words;
  element("working-text").textContent = words;
  element("trouble").hidden = true;
  stage.setAttribute("aria-busy", String(Boolean(words)));
}

function tell(error) {
  working("");
  const isOurs = error instanceof Trouble || error instanceof LightserError;
  element("trouble").textContent = isOurs ? error.message : `Something went wrong: ${error.message}`;
  element("trouble").hidden = false;
  if (!isOurs) console.error(error);
}

/** Do one thing after another: what is under way ends first, and what fails is said. */
function attempt(action) {
  const mine = ++running;
  const isLatest = () => mine === running;
  const before = doing;
  microphone?.close();
  doing = before.then(() => isLatest() && action(isLatest)).catch(tell);
}

// What people do -------------------------------------------------------------------------------

const choose = () => file.click();
const speak = () => attempt(listenLive);
element("choose").onclick = choose;
element("another").onclick = choose;
element("speak").onclick = speak;
element("again").onclick = speak;
element("stop").onclick = () => microphone?.close();
element("play").onclick = () => (player.playing ? player.pause() : player.play());
file.onchange = () => {
  const [chosen] = file.files;
  file.value = ""; // so that the same one can be chosen again
  if (chosen) attempt((isLatest) => listenTo(chosen, chosen.name, isLatest));
};

element("key-form").onsubmit = (event) => {
  event.preventDefault();
  key = element("key").value.trim();
  attempt(openModels);
};

element("save-csv").onclick = () => save("segments.csv", "text/csv", asCsv(card.labels, shown.segments));
element("save-json").onclick = () => {
  const content = { model: card.name, source: shown.name, whole: shown.whole, segments: shown.segments };
  save("segments.json", "application/json", JSON.stringify(content, null, 2));
};

const isFile = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  stage.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) stage.classList.remove("over");
});
addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  stage.classList.remove("over");
  const [dropped] = event.dataTransfer.files;
  if (dropped && engine) attempt((isLatest) => listenTo(dropped, dropped.name, isLatest));
});

const goTo = (seconds) => {
  if (microphone || !shown) return;
  player.seek(seconds);
  moved(player.at);
};
timelineBox.onpointerdown = (event) => {
  goTo(timeline.secondsAt(event.clientX));
  timelineBox.setPointerCapture(event.pointerId);
};
timelineBox.onpointermove = (event) => {
  if (event.buttons) goTo(timeline.secondsAt(event.clientX));
};
timelineBox.onkeydown = (event) => {
  const step = Math.max(timeline.duration / 50, 0.1);
  const moves = {
    ArrowRight: player.at + step,
    ArrowUp: player.at + step,
    ArrowLeft: player.at - step,
    ArrowDown: player.at - step,
    PageUp: player.at + 5 * step,
    PageDown: player.at - 5 * step,
    Home: 0,
    End: timeline.duration,
  };
  if (event.key in moves) goTo(moves[event.key]);
  else if (event.key === " " && !microphone) element("play").click();
  else return;
  event.preventDefault();
};

attempt(begin);
