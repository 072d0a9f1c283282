// The recording over time: its waveform in the colours of what was heard, a ribbon of labels, and
// the probabilities, stacked.

const WAVE = 0.5; // shares of the height
const RIBBON = 0.07;
const GAP = 10; // pixels, as all below
const AXIS = 20;
const LIVE_S = 20; // that are seen while it is still coming

export class Timeline {
  #box;
  #canvas;
  #colours = {};
  #labels = [];
  #rate = 1;
  #peaks = []; // loudest sample of each hundredth of a second
  #heard = 0; // samples in `#peaks`
  #segments = [];
  #hopS = 1;
  #at = null; // seconds, of the cursor
  #live = false;
  #asked = false;

  constructor(box, canvas) {
    this.#box = box;
    this.#canvas = canvas;
    new ResizeObserver(() => this.#ask()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#ask());
  }

  begin({ labels, colours, rate, hopS, live }) {
    [this.#labels, this.#colours, this.#rate, this.#hopS, this.#live] = [labels, colours, rate, hopS, live];
    [this.#peaks, this.#heard, this.#segments, this.#at] = [[], 0, [], null];
    this.#ask();
  }

  get duration() {
    return this.#heard / this.#rate;
  }

  /** Take samples that follow those before. */
  hear(samples) {
    const step = this.#rate / 100;
    for (const value of samples) {
      const bin = Math.floor(this.#heard++ / step);
      const loud = Math.abs(value);
      if (!(this.#peaks[bin] >= loud)) this.#peaks[bin] = loud;
    }
    this.#ask();
  }

  /** Return the loudest sample of a stretch. */
  loudest(start, end) {
    let loudest = 0;
    for (let bin = Math.floor(start * 100); bin < end * 100; bin++) {
      loudest = Math.max(loudest, this.#peaks[bin] ?? 0);
    }
    return loudest;
  }

  add(segment) {
    this.#segments.push(segment);
    this.#ask();
  }

  finish() {
    this.#live = false;
    this.#ask();
  }

  set at(seconds) {
    this.#at = seconds;
    this.#ask();
  }

  /** Return the segment whose middle is nearest to a time. */
  segmentAt(seconds) {
    let best = null;
    let least = Infinity;
    for (const segment of this.#segments) {
      const off = Math.abs((segment.start + segment.end) / 2 - seconds);
      if (off < least) [best, least] = [segment, off];
    }
    return best;
  }

  /** Return the seconds at a place on the screen. */
  secondsAt(clientX) {
    const { left, width } = this.#box.getBoundingClientRect();
    const [from, to] = this.#span();
    const seconds = from + ((clientX - left) / width) * (to - from);
    return Math.min(Math.max(seconds, 0), this.duration);
  }

  #span() {
    if (!this.#live) return [0, Math.max(this.duration, 0.1)];
    return [Math.max(this.duration - LIVE_S, 0), Math.max(this.duration, LIVE_S)];
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#box;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    const canvas = this.#canvas;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.#box);
    const ink = style.getPropertyValue("--ink");
    const muted = style.getPropertyValue("--muted");
    const faint = style.getPropertyValue("--faint");

    const [from, to] = this.#span();
    const x = (seconds) => ((seconds - from) / (to - from)) * width;
    const room = height - AXIS - 2 * GAP;
    const wave = { top: 0, height: room * WAVE };
    const ribbon = { top: wave.height + GAP, height: room * RIBBON };
    const stack = { top: ribbon.top + ribbon.height + GAP };
    stack.height = height - AXIS - stack.top;
    const areas = this.#areas();

    this.#drawWave(pen, wave, areas, { from, to, width, faint });
    this.#drawRibbon(pen, ribbon, areas, x, faint);
    this.#drawStack(pen, stack, areas, x, faint);
    drawAxis(pen, { from, to, x, width, height, muted, font: style.fontFamily });
    if (this.#at !== null) {
      pen.fillStyle = ink;
      pen.fillRect(Math.min(Math.max(x(this.#at) - 1, 0), width - 2), 0, 2, height - AXIS);
    }
  }

  /** What each segment says of: the stretch around its middle, to those of its neighbours. */
  #areas() {
    const segments = this.#segments;
    const middle = ({ start, end }) => (start + end) / 2;
    const ending = this.#live ? null : this.duration;
    return segments.map((segment, i) => {
      const [before, after] = [segments[i - 1], segments[i + 1]];
      const from = before ? (middle(before) + middle(segment)) / 2 : segment.start;
      const newest = middle(segment) + this.#hopS / 2;
      const to = after ? (middle(after) + middle(segment)) / 2 : (ending ?? newest);
      return { from, to, segment };
    });
  }

  #drawWave(pen, { top, height }, areas, { from, to, width, faint }) {
    const [bar, pitch] = [2.5, 4];
    const middle = top + height / 2;
    const loudest = Math.max(0.05, ...sampled(this.#peaks));
    let area = 0;
    for (let px = 0; px + bar <= width; px += pitch) {
      const begin = from + (px / width) * (to - from);
      const end = from + ((px + pitch) / width) * (to - from);
      const low = Math.floor(begin * 100);
      let peak = 0;
      for (let bin = low; bin < Math.max(end * 100, low + 1); bin++) peak = Math.max(peak, this.#peaks[bin] ?? 0);
      if (begin > this.duration) break;
      while (area < areas.length - 1 && areas[area].to < begin) area++;
      const known = areas.length && begin >= areas[area].from && begin <= areas[area].to;
      pen.fillStyle = (known && this.#colours[areas[area].segment.label]) || faint;
      const half = Math.max((Math.sqrt(peak / loudest) * height) / 2, 1.25);
      round(pen, px, middle - half, bar, 2 * half, 1.25);
    }
  }

  #drawRibbon(pen, { top, height }, areas, x, faint) {
    pen.save();
    pen.beginPath();
    pen.roundRect(x(this.#span()[0]), top, x(this.#span()[1]), height, height / 2);
    pen.clip();
    pen.fillStyle = faint;
    pen.fillRect(0, top, x(this.#span()[1]), height);
    for (const { from, to, segment } of areas) {
      if (!this.#colours[segment.label]) continue; // silence
      pen.globalAlpha = 0.35 + 0.65 * segment.confidence;
      pen.fillStyle = this.#colours[segment.label];
      pen.fillRect(x(from), top, x(to) - x(from) + 0.5, height);
    }
    pen.restore();
  }

  #drawStack(pen, { top, height }, areas, x, faint) {
    pen.fillStyle = faint;
    pen.globalAlpha = 0.45;
    round(pen, 0, top, x(this.#span()[1]), height, 6);
    pen.globalAlpha = 1;
    if (!areas.length) return;
    pen.save();
    pen.beginPath();
    pen.roundRect(0, top, x(this.#span()[1]), height, 6);
    pen.clip();
    const points = areas.map(({ segment }) => ({
      at: x((segment.start + segment.end) / 2),
      shares: this.#labels.map((label) => segment.probabilities[label] ?? 0),
    }));
    points.unshift({ ...points[0], at: x(areas[0].from) });
    points.push({ ...points.at(-1), at: x(areas.at(-1).to) });
    let below = points.map(() => 0);
    for (const [n, label] of this.#labels.entries()) {
      const above = below.map((base, i) => base + points[i].shares[n]);
      pen.beginPath();
      points.forEach(({ at }, i) => pen.lineTo(at, top + height * (1 - above[i])));
      points.toReversed().forEach(({ at }, i) => pen.lineTo(at, top + height * (1 - below.at(-1 - i))));
      pen.globalAlpha = 0.82;
      pen.fillStyle = this.#colours[label];
      pen.fill();
      below = above;
    }
    pen.restore();
  }
}

function drawAxis(pen, { from, to, x, width, height, muted, font }) {
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];
  const step = steps.find((s) => ((to - from) / s) * 46 <= width) ?? 3600;
  pen.fillStyle = muted;
  pen.font = `11px ${font}`;
  pen.textBaseline = "bottom";
  for (let n = Math.ceil(from / step); n * step <= to; n++) {
    const seconds = n * step;
    const word = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    const room = pen.measureText(word).width;
    pen.fillText(word, Math.min(Math.max(x(seconds) - room / 2, 0), width - room), height);
  }
}

function round(pen, left, top, width, height, radius) {
  pen.beginPath();
  pen.roundRect(left, top, width, height, radius);
  pen.fill();
}

/** A few thousand of the values, so that an hour is drawn as fast as a second. */
function sampled(values) {
  const step = Math.ceil(values.length / 4000);
  return step <= 1 ? values : values.filter((_, i) => i % step === 0);
}
