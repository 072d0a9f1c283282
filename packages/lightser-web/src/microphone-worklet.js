// Runs in the audio thread: gathers blocks of 128 frames, mono, and sends them on.

const LENGTH = 1024; // 21 ms at 48 kHz

class Gather extends AudioWorkletProcessor {
  #chunk = new Float32Array(LENGTH);
  #filled = 0;

  process([channels]) {
    if (!channels.length) return true; // the microphone is not there yet, or is gone
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.#chunk[this.#filled++] = sum / channels.length;
      if (this.#filled === LENGTH) {
        this.port.postMessage(this.#chunk, [this.#chunk.buffer]);
        this.#chunk = new Float32Array(LENGTH);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("lightser-gather", Gather);
