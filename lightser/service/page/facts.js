// What the model says of itself.

const LANGUAGES = new Intl.DisplayNames(["en"], { type: "language" });
const element = (id) => document.getElementById(id);
const share = (value) => (100 * value).toFixed(1);

export function showFacts(card) {
  element("size").textContent = card.parameters.toLocaleString("en");
  element("limits").textContent = card.limits;
  element("intended").textContent = card.intended_use;
  showScore(card);
  const languages = (code) => (code ? LANGUAGES.of(code) : "several languages");
  const trained = card.trained_on.flatMap(({ title, url, utterances, speakers, language, license }) => {
    const link = document.createElement(/^https?:/.test(url) ? "a" : "span");
    if (link.tagName === "A") Object.assign(link, { href: url, rel: "noreferrer noopener", target: "_blank" });
    link.textContent = title;
    return [link, `, ${utterances} utterances, ${speakers} speakers, ${languages(language)}, ${license}`];
  });
  const { bytes } = card.files["model.onnx"];
  const rows = [
    ["Model", [card.name]],
    ["Trained on", trained],
    ["Emotions", [card.labels.join(", ")]],
    ["Hears", [`${card.window_s} s at a time, at ${card.sample_rate / 1000} kHz`]],
    ["Size", [`${(bytes / 1e6).toFixed(1)} MB`]],
    ["Licence", [`${card.license} (weights)`]],
  ];
  element("facts-list").replaceChildren(
    ...rows.flatMap(([name, content]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.append(...content);
      return [term, description];
    }),
  );
  element("facts").hidden = false;
}

function showScore({ scores, labels }) {
  const score = scores[0];
  element("scale").hidden = !score;
  if (!score) {
    element("ua").textContent = "not measured";
    element("ua-words").textContent = "";
    element("score-words").textContent = "Its card has no score on voices that were held out.";
    return;
  }
  const [low, high] = score.ua_interval;
  const chance = 1 / labels.length;
  element("ua").textContent = `${share(score.ua)} %`;
  element("ua-words").textContent = `of each emotion recognised, on average; guessing gets ${share(chance)} %`;
  const [random, span, dot] = element("scale").children;
  random.style.left = `${share(chance)}%`;
  span.style.left = `${share(low)}%`;
  span.style.width = `${share(high - low)}%`;
  dot.style.left = `${share(score.ua)}%`;
  element("score-words").textContent =
    `${score.protocol_note} 95 % interval ${share(low)} to ${share(high)} %, over ` +
    `${score.n_utterances} utterances of ${score.corpus}; accuracy ${share(score.wa)} %.`;
}
