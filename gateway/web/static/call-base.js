// What each part of a call works with: its media, the way to the gateway, and how it ends. See Call.

import { CallFields } from "./call-fields.js";
import { CallMedia, CallOver, CameraError, MicrophoneError } from "./call-media.js";
import { CallSession } from "./call-session.js";
import { hasVideo } from "./media-sdp.js";

/**
 * What a call asks of its client, beside its devices.
 * @typedef {object} Asked
 * @property {(method: string, params: object) => Promise<any>} request
 * @property {(method: string, params: object) => void} notify
 * @property {() => boolean} isOpen
 * @property {(callId: string, reason?: string) => void} endAway  end it at the gateway, where it waits, as soon as that can be reached
 * @property {(call: CallBase) => Promise<void>} holdOthers  hold whatever else is talked in
 * @property {(call: CallBase, detail: Ending) => void} ended
 * @typedef {Asked & import("./call-media.js").Devices} Link
 *
 * @typedef {object} Ending
 * @property {CallBase} call
 * @property {import("./call-fields.js").CallState} before
 * @property {string} cause
 * @property {string} [reason]
 * @property {boolean} byUs
 *
 * @typedef {{peer: string, incoming?: boolean, id?: string, name?: string, verified?: import("./call-fields.js").Verdict, offer?: string}} Origin
 */

export class CallBase extends CallFields {
  /** @protected @type {Link} */
  link;
  /** Another device of ours has it still, and keeps it where we cannot have it. @protected */
  taking = false;
  /** @protected */
  rtc;
  /** @protected */
  session;
  #sent = false;
  #merging = false;

  /** @param {Link} link @param {Origin} from */
  constructor(link, { peer, incoming = false, id = "", name = "", verified = "none", offer = "" }) {
    super();
    this.link = link;
    Object.assign(this, { peer, incoming, id, name, verified, state: incoming ? "incoming" : "calling", offersVideo: hasVideo(offer) });
    this.rtc = new CallMedia(link);
    this.session = new CallSession(this.rtc, link.request);
    this.rtc.addEventListener("change", () => this.changed());
    this.rtc.addEventListener("candidate", ({ detail }) => this.tell("ice_candidate", "to_peer_id", detail));
  }

  // The media.

  /** "none" before there is a connection, then "connecting", "connected", "broken": what the browser says of the media. */
  get media() {
    return this.rtc.state;
  }

  /** @returns {RTCPeerConnection | null} for its statistics */
  get connection() {
    return this.rtc.connection;
  }

  /** @returns {MediaStream | null} the other side's sound */
  get remote() {
    return this.rtc.sound;
  }

  /** @returns {MediaStream | null} the microphone's */
  get local() {
    return this.rtc.microphone;
  }

  /** What the other side shows, by the mid of the section; a room shows several. @returns {{mid: string, stream: MediaStream}[]} */
  get pictures() {
    return this.held || this.heldByPeer ? [] : this.rtc.pictures;
  }

  /** @returns {MediaStream | null} what the other side shows first */
  get picture() {
    return this.pictures[0]?.stream ?? null;
  }

  /** @returns {MediaStream | null} what our camera sees, while it is on */
  get camera() {
    return this.rtc.camera;
  }

  /** What both sides type. */
  get text() {
    return this.rtc.text;
  }

  /** Whether the other side's own sound has come: it replaces our ringback. */
  get heard() {
    return this.remote?.getAudioTracks()[0]?.muted === false;
  }

  /** Without a camera it goes on without one. @protected @param {boolean} listenOnly @param {boolean} video */
  async openDevices(listenOnly, video) {
    this.listenOnly = listenOnly;
    if (!listenOnly) await this.rtc.openMicrophone();
    if (!video) return;
    try {
      await this.rtc.openCamera();
    } catch (error) {
      if (!(error instanceof CameraError)) throw error;
      this.trouble(error);
    }
  }

  /** @protected */
  openOrShut() {
    this.rtc.let({ voice: !this.muted && !this.held, picture: !this.held });
  }

  /** The other side has our description. @protected */
  flush() {
    this.#sent = true;
    this.rtc.flushCandidates();
  }

  // Its course.

  /** @protected */
  get over() {
    return this.state === "ended";
  }

  /** @protected */
  talk() {
    if (!this.over && this.state !== "talking") this.noted({ state: "talking", answeredAt: Date.now() });
  }

  /** Its other side goes into a room, or does so no more: how its end is told depends on it (see GatewayClient.merge). @param {boolean} begun */
  merging(begun) {
    if (begun === this.#merging) return;
    this.transferring = this.#merging = begun;
    this.changed();
  }

  /**
   * End, cancel or decline, whichever fits.
   * @param {string} [cause] why, where it was not the person's wish
   * @param {{shown?: string, why?: string}} [told] the cause the page tells, where it knows more than the other side needs to, and
   *   the word for why
   */
  hangUp(cause, { shown = cause, why } = {}) {
    if (this.over) return;
    const reason = cause ?? (this.state === "incoming" ? "declined" : undefined);
    if (this.away) {
      if (!this.taking) this.link.endAway(this.id, reason);
    } else if (this.incoming || this.id || this.#sent) this.tell("disconnect", "peer_id", reason ? { reason } : {});
    const own = this.state === "incoming" ? "declined" : this.state === "talking" ? "normal" : "cancelled";
    this.finish(shown ?? own, { reason: why, byUs: true });
  }

  /** @protected @param {any} error */
  failed(error) {
    if (this.over || error instanceof CallOver) return;
    if (error instanceof MicrophoneError) {
      this.#silent(error);
      return;
    }
    if (!error.code && this.id && !this.link.isOpen()) return; // cut in the middle: `reattach` takes it up
    if (this.id || this.incoming) this.tell("disconnect", "peer_id");
    this.finish(error.data?.cause ?? "error", { reason: error.data?.reason });
  }

  /** @param {MicrophoneError} error */
  #silent(error) {
    if (this.state === "incoming") this.trouble(error);
    else if (this.away) this.hangUp("microphone", { why: error.name });
    else this.finish("microphone", { reason: error.name });
  }

  /** @protected @param {string} cause @param {{reason?: string, byUs?: boolean}} [how] */
  finish(cause, { reason, byUs = false } = {}) {
    if (this.over) return;
    const before = this.state;
    Object.assign(this, { state: "ended" });
    this.rtc.close();
    const gone = this.#merging ? "merged" : "transferred";
    const detail = { call: this, before, cause: this.transferring && cause === "normal" ? gone : cause, reason, byUs };
    this.link.ended(this, detail);
    this.dispatchEvent(new CustomEvent("end", { detail }));
  }

  // The way to the gateway, and to the page.

  /** @protected @param {string} name */
  addressed(name) {
    return this.id ? { [name]: this.peer, call_id: this.id } : { [name]: this.peer };
  }

  /** @protected @param {string} method @param {string} name what the method calls the other side @param {object} [extra] */
  tell(method, name, extra) {
    this.link.notify(method, { ...this.addressed(name), ...extra });
  }

  /** @protected @param {unknown} error */
  trouble(error) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: error }));
  }

  /** @protected @param {Partial<CallFields>} what */
  noted(what) {
    Object.assign(this, what);
    this.changed();
  }

  /** @protected */
  changed() {
    if (!this.over) this.dispatchEvent(new Event("change"));
  }
}
