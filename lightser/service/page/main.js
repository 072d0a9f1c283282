// The page: who listens, with which model, to what is dropped, chosen or spoken.

import { ask, BrowserEngine, clipOf, ServiceEngine, Trouble } from "./engines.js";
import { showFacts } from "./facts.js";
import { offerChoices, offerSamples, sayWhatItKnows, sayWhoListens } from "./offers.js";
import { BadAudio, LightserError, Microphone, Smoother } from "./lightser-web/core.js";
import { Stage } from "./stage.js";
import { Voice } from "./voice.js";

const LONGEST_S = 3600; // of a file: its samples are held here
const LONGEST_LIVE_S = 600;
const LIVE_HOP_S = 0.5;

const element = (id) => document.getElementById(id);

const stage = new Stage((labels) => chooseLabels(labels));
let setup = { in_browser: false, vad: false, samples: [] };
let key = "";
let engine = null;
let card = null;
let voice = null; // that the model listens to
let wanted = null; // {card, kind, labels} that the reader chose last
let again = null; // {kind, hear}: who hears what was given last, and how to hear it once more
let unheard = null; // the same, of what was given and is not shown yet
let microphone = null;
let asking = null; // AbortController of a question for the microphone that nobody has answered
let begun = 0; // counts what was begun, so that what is overtaken ends
let doing = Promise.resolve(); // what was begun last

/**
 * Do one thing after another: what is under way ends first, and what fails is said. What was chosen
 * before counts: nothing is heard by another than the one who was to listen when it was given.
 */
function attempt(action = () => {}) {
  const mine = ++begun;
  const isLatest = () => mine === begun;
  const [before, who] = [doing, wanted?.kind];
  microphone?.close();
  asking?.abort();
  const act = async () => {
    if (!isLatest()) return;
    if (wanted) await openWanted();
    if (!isLatest()) return;
    if (who === "browser" && engine.kind !== who) {
      const words = "No audio was sent; what you give from now on goes to the service.";
      throw new Trouble(`This browser cannot listen${engine.reason}. ${words}`);
    }
    await action(isLatest);
  };
  doing = before.then(act).catch(tell);
}

// Models and engines ---------------------------------------------------------------------------

async function begin() {
  setup = await (await fetch("/page/setup.json")).json();
  offerSamples(setup.samples, (address, name) =>
    attempt(async (isLatest) => listenTo(await (await fetch(address)).blob(), name, isLatest)),
  );
  await openModels();
}

async function openModels() {
  let models;
  try {
    ({ models } = await (await ask("/v1/models", key)).json());
  } catch (error) {
    if (error.status !== 401) throw error;
    element("engine-text").textContent = "Locked";
    element("key-form").hidden = false;
    element("key").select();
    if (key) throw new Trouble("That key is not one of this service's.");
    return;
  }
  const wasLocked = !element("key-form").hidden;
  element("key-form").hidden = true;
  working("");
  offerChoices(models, setup.in_browser, {
    onModel: (chosen) => choose({ card: chosen, labels: chosen.labels }),
    onEngine: (kind) => choose({ kind }),
  });
  const [first] = models;
  wanted = { card: first, kind: setup.in_browser ? "browser" : "service", labels: first.labels };
  await openWanted();
  if (wasLocked) element("choose").focus();
}

/** Note at once who is to listen; what is not shown yet is theirs, and whatever is given from now on. */
function choose(change) {
  wanted = { ...wanted, ...change };
  attempt(async (isLatest) => {
    working("");
    const waiting = unheard;
    if (!waiting) return;
    if (waiting.kind === "browser" && engine.kind === "service") {
      unheard = null;
      throw new Trouble("This browser was to hear that, so it is not sent; give it once more.");
    }
    await waiting.hear(isLatest);
  });
}

/** Take the choice of emotions, and hear once more what is shown. */
function chooseLabels(labels) {
  wanted = { ...wanted, labels };
  attempt(async (isLatest) => {
    if (again?.kind === "browser" && engine.kind === "service") {
      throw new Trouble("This browser heard that, so it is not sent; the choice counts from now on.");
    }
    working("");
    await again?.hear(isLatest);
  });
}

async function openWanted() {
  const { card: chosen, kind, labels } = wanted;
  if (!engine || card !== chosen || engine.kind !== kind) await openEngine(chosen, kind);
  engine.labels = labels;
}

async function openEngine(chosen, kind) {
  enable(false);
  element("engine-text").textContent = "Waking up …";
  await engine?.release();
  if (card !== chosen) {
    card = stage.card = chosen;
    again = null;
    voice = new Voice(card.files["model.onnx"].sha256);
    showFacts(card);
    sayWhatItKnows(card);
  }
  let reason = "";
  engine = null;
  if (kind === "browser") {
    try {
      engine = await BrowserEngine.open(card, key);
    } catch (error) {
      reason = ` (${error.message})`;
    }
  }
  engine ??= new ServiceEngine(card, key, setup.vad, reason);
  engine.voice = voice;
  if (wanted.card === chosen && wanted.kind === kind) {
    wanted = { ...wanted, kind: engine.kind }; // the browser may have failed
    sayWhoListens(engine.kind, reason);
  }
  enable(true);
}

function enable(isReady) {
  for (const button of document.querySelectorAll("#empty button, #another, #again")) {
    button.disabled = !isReady;
  }
}

// A file ---------------------------------------------------------------------------------------

async function listenTo(blob, name, isLatest, isAgain = false) {
  const before = again;
  again = { kind: engine.kind, hear: (isLatest) => listenTo(blob, name, isLatest, true) };
  unheard = again;
  try {
    await hearWhole(blob, name, isLatest, isAgain);
  } catch (error) {
    again = before; // which is what is still shown
    unheard = null;
    throw error;
  }
}

async function hearWhole(blob, name, isLatest, isAgain) {
  working(`Reading ${name} …`);
  let clip = null;
  try {
    clip = await clipOf(blob);
  } catch (error) {
    // The service knows formats that this browser does not.
    if (engine.kind === "browser" || !(error instanceof BadAudio)) throw error;
  }
  if (clip && clip.samples.length > LONGEST_S * clip.rate) {
    throw new Trouble("A recording of more than an hour; lightser predict takes it.");
  }
  if (!isLatest()) return;
  working("Listening …");
  voice.begin(isAgain);
  const heard = await engine.hear(clip);
  if (!isLatest()) return;
  const whole = await engine.predict(blob, heard);
  if (!isLatest()) return;
  working("");
  const isBlind = clip === null;
  clip ??= { samples: new Float32Array(Math.round(whole.durationS * 1000)), rate: 1000 };
  const cut = { windowS: card.window_s, hopS: Math.min(hopFor(whole.durationS), card.window_s) };
  const { labels } = engine;
  const { warnings } = whole;
  unheard = null;
  stage.begin(name, { labels, rate: clip.rate, hopS: cut.hopS, isBlind, isAgain, warnings });
  stage.hear(clip.samples);
  stage.conclude(whole, whole.windows > 1);
  try {
    for await (const segment of engine.segments(blob, heard, cut)) {
      if (!isLatest()) return;
      stage.take(segment);
    }
  } finally {
    stage.finish(clip);
  }
}

/** A step that gives a few hundred segments; a window that is shorter gives more. */
const hopFor = (seconds) => [0.25, 0.5, 1, 2, 5].find((hop) => seconds / hop <= 400) ?? 10;

// The microphone -------------------------------------------------------------------------------

async function listenLive(isLatest) {
  working("");
  unheard = null;
  asking = new AbortController();
  try {
    microphone = await Microphone.open({ signal: asking.signal });
  } catch (error) {
    if (!isLatest()) return; // something else was asked for meanwhile
    throw error;
  } finally {
    asking = null;
  }
  const rate = microphone.sampleRate;
  const parts = [];
  const spoken = async function* () {
    for await (const chunk of microphone) {
      parts.push(chunk);
      yield chunk;
      if (stage.duration >= LONGEST_LIVE_S) microphone.close();
    }
  };
  again = { kind: engine.kind, hear: (isLatest) => follow(parts, parts, rate, isLatest, true) };
  try {
    await follow(spoken(), parts, rate, isLatest);
  } finally {
    microphone.close();
    microphone = null;
  }
}

/** Hear chunks as they come, which end up in `parts`: tell silence, and smooth the rest. */
async function follow(chunks, parts, rate, isLatest, isAgain = false) {
  const cut = { windowS: card.window_s, hopS: Math.min(LIVE_HOP_S, card.window_s) };
  const { labels } = engine;
  stage.begin("Microphone", { labels, rate, hopS: cut.hopS, isLive: !isAgain, isAgain });
  voice.begin(isAgain);
  const smoother = new Smoother();
  const sum = labels.map(() => 0); // of probabilities, over segments with speech
  const onSegment = (segment) => {
    if (stage.isSilent(segment)) {
      smoother.reset(); // who speaks next need not feel as before
      stage.take(segment);
      return;
    }
    const shares = labels.map((label) => segment.probabilities[label]);
    shares.forEach((share, i) => (sum[i] += share));
    const smoothed = smoother.add(shares, segment.end);
    stage.take({ ...segment, ...named(labels, smoothed.probabilities, smoothed.label) });
  };
  try {
    const stream = await engine.stream(rate, cut, onSegment);
    for await (const chunk of chunks) {
      if (!isLatest()) break; // another may be chosen to listen
      stage.hear(chunk);
      await stream.push(chunk.slice());
    }
    await stream.end();
  } finally {
    const heard = sum.reduce((a, b) => a + b);
    const mean = sum.map((share) => share / heard);
    if (heard) stage.conclude(named(labels, mean, mean.indexOf(Math.max(...mean))), true);
    stage.finish({ samples: joined(parts), rate });
  }
}

function named(labels, shares, best) {
  const probabilities = Object.fromEntries(labels.map((label, i) => [label, shares[i]]));
  return { label: labels[best], confidence: shares[best], probabilities };
}

function joined(parts) {
  const whole = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// What is said meanwhile -----------------------------------------------------------------------

function working(words) {
  element("working").hidden = !words;
  element("working-text").textContent = words;
  element("trouble").hidden = true;
  element("stage").setAttribute("aria-busy", String(Boolean(words)));
}

function tell(error) {
  working("");
  const isOurs = error instanceof Trouble || error instanceof LightserError;
  element("trouble").textContent = isOurs ? error.message : `Something went wrong: ${error.message}`;
  element("trouble").hidden = false;
  if (!isOurs) console.error(error);
}

// What people do -------------------------------------------------------------------------------

const file = element("file");
const hearFile = (chosen) => attempt((isLatest) => listenTo(chosen, chosen.name, isLatest));
element("choose").onclick = element("another").onclick = () => file.click();
element("speak").onclick = element("again").onclick = () => attempt(listenLive);
element("stop").onclick = () => microphone?.close();
file.onchange = () => {
  const [chosen] = file.files;
  file.value = ""; // so that the same one can be chosen again
  if (chosen) hearFile(chosen);
};

element("key-form").onsubmit = (event) => {
  event.preventDefault();
  key = element("key").value.trim();
  attempt(openModels);
};

const isFile = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  element("stage").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) element("stage").classList.remove("over");
});
addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  element("stage").classList.remove("over");
  const [dropped] = event.dataTransfer.files;
  if (dropped && wanted) hearFile(dropped);
});

attempt(begin);
