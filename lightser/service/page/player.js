// Plays samples, and says where it is.

export class Player {
  #onMove;
  #context = null;
  #node = null;
  #began = 0; // the context's time at which second 0 would have been
  #at = 0;
  #clip = null;

  /** @param onMove is called with the seconds, some sixty times a second, and at the end. */
  constructor(onMove) {
    this.#onMove = onMove;
  }

  set clip(clip) {
    this.pause();
    this.#clip = clip;
    this.#at = 0;
  }

  get duration() {
    return this.#clip ? this.#clip.samples.length / this.#clip.rate : 0;
  }

  get playing() {
    return this.#node !== null;
  }

  get at() {
    return this.playing ? Math.min(this.#context.currentTime - this.#began, this.duration) : this.#at;
  }

  seek(seconds) {
    const wasPlaying = this.playing;
    this.pause();
    this.#at = Math.min(Math.max(seconds, 0), this.duration);
    if (wasPlaying) this.play();
  }

  play() {
    if (!this.#clip || this.playing) return;
    this.#context ??= new AudioContext();
    this.#context.resume();
    const { samples, rate } = this.#clip;
    const buffer = this.#context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(samples, 0);
    if (this.#at > this.duration - 0.02) this.#at = 0;
    const node = new AudioBufferSourceNode(this.#context, { buffer });
    node.connect(this.#context.destination);
    node.onended = () => {
      if (this.#node !== node) return;
      this.#at = this.duration;
      this.#node = null;
      this.#onMove(this.#at);
    };
    node.start(0, this.#at);
    this.#began = this.#context.currentTime - this.#at;
    this.#node = node;
    const tick = () => {
      if (this.#node !== node) return;
      this.#onMove(this.at);
      requestAnimationFrame(tick);
    };
    tick();
  }

  pause() {
    if (!this.playing) return;
    this.#at = this.at;
    const node = this.#node;
    this.#node = null;
    node.stop();
    this.#onMove(this.#at);
  }
}
