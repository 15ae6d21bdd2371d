// Which microphone, camera and speaker, and how loud, kept in this browser, and a look at how loud the microphone is.

import { Emitter } from "./events.js";

const KEPT = "softphone.devices";

/** How loud a microphone is. Event "level" with detail 0 to 1, null once there is none. */
export class Level extends Emitter {
  /** @type {MediaStream | null} */
  #stream = null;
  /** @type {AudioContext | null} */
  #context = null;
  #frame = 0;

  /** Measure this stream from now on; null: none. @param {MediaStream | null} stream */
  follow(stream) {
    if (stream === this.#stream) return;
    cancelAnimationFrame(this.#frame);
    this.#context?.close();
    this.#stream = stream;
    this.#context = stream && new AudioContext();
    if (stream && this.#context) this.#measure(stream, this.#context);
    else this.#tell(null);
  }

  /** @param {MediaStream} stream @param {AudioContext} context */
  #measure(stream, context) {
    const analyser = new AnalyserNode(context, { fftSize: 1024 });
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const look = () => {
      analyser.getFloatTimeDomainData(samples);
      this.#tell(samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
      this.#frame = requestAnimationFrame(look);
    };
    look();
  }

  #tell(level) {
    this.dispatchEvent(new CustomEvent("level", { detail: level === null ? null : Math.min(1, level) }));
  }
}

export class Devices extends Emitter {
  #audio;
  /** @type {MediaStream | null} */
  #stream = null;
  #level = new Level();

  /** `audio` plays the calls. Events: "level" with detail 0 to 1, "change" when the lists may have changed. @param {HTMLAudioElement} audio */
  constructor(audio) {
    super();
    this.#audio = audio;
    this.#play();
    this.#audio.volume = this.volume;
    this.#level.addEventListener("level", ({ detail }) => this.#stream && this.dispatchEvent(new CustomEvent("level", { detail })));
    navigator.mediaDevices?.addEventListener("devicechange", () => this.dispatchEvent(new Event("change")));
  }

  /** {microphone, camera, speaker}: ids, "" for the system's own choice. */
  get chosen() {
    const nothing = { microphone: "", camera: "", speaker: "" };
    try {
      return { ...nothing, ...JSON.parse(localStorage.getItem(KEPT) ?? "{}") };
    } catch {
      return nothing;
    }
  }

  choose(kind, id) {
    localStorage.setItem(KEPT, JSON.stringify({ ...this.chosen, [kind]: id }));
    this.#play();
    if (this.testing) this.test();
  }

  /** How loud the calls are heard, 0 to 1. */
  get volume() {
    const { volume } = this.chosen;
    return typeof volume === "number" && volume >= 0 && volume <= 1 ? volume : 1;
  }

  set volume(volume) {
    localStorage.setItem(KEPT, JSON.stringify({ ...this.chosen, volume }));
    this.#audio.volume = volume;
  }

  /** Whether the browser leaves the volume to the page; some have the system's buttons only. */
  get hasVolume() {
    const probe = new Audio();
    probe.volume = 0.5;
    return probe.volume === 0.5;
  }

  /** [{id, label}] of "audioinput", "videoinput" or "audiooutput"; labels come once the microphone was allowed. */
  async list(kind) {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return devices.filter((one) => one.kind === kind && one.deviceId).map(({ deviceId: id, label }) => ({ id, label }));
  }

  get testing() {
    return Boolean(this.#stream);
  }

  /** Listen to the microphone and tell its level until `stop`; throws what getUserMedia does. */
  async test() {
    this.stop();
    const { microphone } = this.chosen;
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: microphone ? { deviceId: microphone } : true });
    this.#level.follow(this.#stream);
    this.dispatchEvent(new Event("change"));
  }

  stop() {
    this.#level.follow(null);
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
  }

  #play() {
    // Not every browser lets a page choose; a speaker that was unplugged is no reason for silence.
    this.#audio.setSinkId?.(this.chosen.speaker).catch(() => this.#audio.setSinkId("").catch(() => {}));
  }
}
