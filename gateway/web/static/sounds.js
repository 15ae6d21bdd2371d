// Ringtone, ringback and key tones, made on the spot: no audio files.

const KEYS = {
  1: [697, 1209], 2: [697, 1336], 3: [697, 1477],
  4: [770, 1209], 5: [770, 1336], 6: [770, 1477],
  7: [852, 1209], 8: [852, 1336], 9: [852, 1477],
  "*": [941, 1209], 0: [941, 1336], "#": [941, 1477],
};

export class Sounds {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {GainNode | null} */
  #loop = null;
  #timer = 0;
  /** @type {(() => void) | null} */
  #start = null;

  /** Called when sounds are heard from now on. @type {(() => void) | null} */
  onready = null;

  /** Browsers let a page make sounds after the first click or key only; resolves to whether it may now. */
  async unlock() {
    this.#context ??= new AudioContext();
    const resumed = this.#context.resume().then(
      () => {
        this.#start?.();
        this.onready?.();
      },
      () => {},
    );
    // While it may not, the promise of resume() stays open.
    await Promise.race([resumed, new Promise((done) => setTimeout(done, 300))]);
    return this.ready;
  }

  /** Whether a sound would be heard. */
  get ready() {
    return this.#context?.state === "running";
  }

  key(digit) {
    this.#play(KEYS[digit] ?? [], 0, 0.12, 0.05);
  }

  ringtone() {
    this.#repeat(2600, () => {
      [523.25, 659.25, 783.99, 1046.5].forEach((pitch, step) => {
        this.#play([pitch, pitch * 2.01], step * 0.16, 0.5, 0.07);
        this.#play([pitch], 0.8 + step * 0.16, 0.5, 0.05);
      });
    });
  }

  ringback() {
    this.#repeat(4000, () => this.#play([425], 0, 1, 0.05));
  }

  waiting() {
    this.#play([440], 0, 0.2, 0.04);
    this.#play([440], 0.4, 0.2, 0.04);
  }

  message() {
    this.#play([880], 0, 0.12, 0.04);
  }

  ended() {
    this.#play([392], 0, 0.12, 0.06);
    this.#play([311], 0.14, 0.18, 0.06);
  }

  silence() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#start = null;
    this.#loop?.disconnect();
    this.#loop = null;
  }

  #repeat(milliseconds, play) {
    this.silence();
    // A page that may make no sound yet begins to ring the moment it may.
    this.#start = () => {
      const context = this.#context;
      if (!context || !this.ready || this.#loop) return;
      this.#loop = context.createGain();
      this.#loop.connect(context.destination);
      play();
      this.#timer = setInterval(play, milliseconds);
    };
    this.#start();
  }

  #play(pitches, delay, duration, level) {
    const context = this.#context;
    if (!context || context.state !== "running") return;
    const start = context.currentTime + delay;
    const gain = context.createGain();
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(level, start + 0.01);
    gain.gain.setValueAtTime(level, start + duration * 0.6);
    gain.gain.linearRampToValueAtTime(0, start + duration);
    gain.connect(this.#loop ?? context.destination);
    for (const pitch of pitches) {
      const tone = context.createOscillator();
      tone.frequency.value = pitch;
      tone.connect(gain);
      tone.start(start);
      tone.stop(start + duration);
    }
  }
}
