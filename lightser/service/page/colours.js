// One colour per emotion, those of lightser's figures and terminal (lightser/report/colours.py; a
// test holds them equal).

export const EMOTION_COLOURS = {
  anger: "#e5392a",
  happiness: "#f2b90f",
  surprise: "#f385d6",
  fear: "#7c3f8f",
  sadness: "#2a7fe6",
  calm: "#35cdb9",
  disgust: "#93c562",
  contempt: "#6e6a1f",
  boredom: "#8f4a2c",
  frustration: "#b3134f",
  excitement: "#ff8a4c",
  neutral: "#868c94",
};

// As corpora and papers abbreviate or vary them.
const SAME = {
  ang: "anger",
  angry: "anger",
  hap: "happiness",
  happy: "happiness",
  joy: "happiness",
  sur: "surprise",
  surprised: "surprise",
  fea: "fear",
  fearful: "fear",
  anxiety: "fear",
  sad: "sadness",
  dis: "disgust",
  bored: "boredom",
  fru: "frustration",
  exc: "excitement",
  excited: "excitement",
  neu: "neutral",
};

/** Return a colour for each label; emotions that are not known get the spare ones. */
export function coloursOf(labels) {
  const known = labels.map((label) => {
    const name = label.toLowerCase();
    return EMOTION_COLOURS[SAME[name] ?? name];
  });
  const kept = new Set(["anger", "happiness", "fear", "sadness"]);
  const spare = Object.entries(EMOTION_COLOURS)
    .filter(([name, colour]) => !known.includes(colour) && !kept.has(name))
    .map(([, colour]) => colour);
  const others = spare.length ? spare : Object.values(EMOTION_COLOURS);
  let strangers = 0;
  return Object.fromEntries(
    labels.map((label, i) => [label, known[i] ?? others[strangers++ % others.length]]),
  );
}
