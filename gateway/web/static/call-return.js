// A call that comes back: after a reload, a cut socket, on another device, or over another path. See Call.

import { CallBase } from "./call-base.js";
import { isLoopbackOnly } from "./media-sdp.js";

const AWAY_MS = 30_000; // as long as the gateway waits for us

/** @typedef {import("./call-fields.js").Saved & {video?: boolean, seen?: boolean, text?: boolean, typed?: import("./call-text.js").Typed}} Kept `video`: our camera is on; `seen`: there is video */

export class ReturningCall extends CallBase {
  /** It was held before the new offer, which says nothing of that. @protected */
  holdAgain = false;
  #hadMedia = false;
  #restarting = false;
  #awayTimer = 0;

  /** @param {import("./call-base.js").Link} link @param {import("./call-base.js").Origin} from */
  constructor(link, from) {
    super(link, from);
    this.rtc.addEventListener("state", () => this.#mediaChanged());
  }

  /** What a reload needs to take the call back. Null for a call that cannot be. @returns {Kept | null} */
  saved() {
    const kept = super.saved();
    return kept && { ...kept, video: Boolean(this.camera), seen: this.rtc.hasVideo, text: this.text.isKept, typed: this.text.typed };
  }

  /** Take a call of before a reload, or of another device, over a new connection. @param {Partial<Kept>} saved */
  async restore({ savedAt, video = false, seen = false, text = false, typed, ...kept }) {
    if (typed) this.text.restore(typed);
    Object.assign(this, kept, { away: true, taking: !savedAt });
    this.changed();
    try {
      await this.openDevices(this.listenOnly, video);
      await this.rtc.connect({ video: seen, text });
      this.openOrShut();
    } catch (error) {
      this.failed(error);
      return;
    }
    await this.#attach({});
  }

  /** Signed in again: take the call back. Its media may stand; if not, ICE starts anew. */
  async reattach() {
    if (!this.away || this.over) return;
    await this.#attach(this.connection?.connectionState === "connected" ? null : { iceRestart: true });
  }

  /** The socket is gone, the call is not: the gateway waits, and so do we. */
  cut() {
    if (this.over) return;
    if (this.state === "incoming") {
      // It rings again when we are back, if the caller still waits.
      this.finish("gone");
    } else if (!this.id) {
      this.finish(this.state === "talking" ? "connection-lost" : "error");
    } else {
      this.away = true;
      this.#waitAway();
      this.changed();
    }
  }

  /** Away, once it is, comes to an end, whether the gateway is gone or says nothing. */
  #waitAway() {
    this.#awayTimer ||= setTimeout(() => this.away && this.finish("connection-lost"), AWAY_MS);
  }

  #isBack() {
    Object.assign(this, { away: false, taking: false });
    clearTimeout(this.#awayTimer);
    this.#awayTimer = 0;
  }

  /** @param {RTCOfferOptions | null} offer the options of createOffer, null where the media stands */
  async #attach(offer) {
    if (this.away) this.#waitAway();
    try {
      const sdp = offer ? await this.session.offer(offer) : "";
      if (offer) this.holdAgain = this.held;
      const request = { call_id: this.id, ...(this.seq && { after: this.seq }), ...(sdp && { sdp }) };
      const { state, cause, reason, from_name: name, seq, ...now } = await this.link.request("call.attach", request);
      if (this.over) return;
      this.#isBack();
      this.seq ||= seq;
      this.name ||= name ?? "";
      const { verified = this.verified, recording = this.recording, room = this.room, member = this.member } = now;
      Object.assign(this, { verified, recording, room, member });
      if (state === "ended") this.finish(cause, { reason });
      else if (state === "answered") this.talk();
      this.flush();
      this.changed();
    } catch (error) {
      const { code, data } = /** @type {import("./rpc.js").RpcError} */ (error);
      if (code) this.finish(data?.cause === "not-found" ? "connection-lost" : (data?.cause ?? "error"));
    }
  }

  #mediaChanged() {
    if (this.over) return;
    const state = this.connection?.connectionState;
    if (state === "connected") {
      this.#hadMedia = true;
      this.#restarting = false;
    }
    if (state === "failed" && !this.away) this.#mediaFailed();
    this.changed();
  }

  /** Once it was there, it may come back over another path; if it never was, there is no use in waiting. */
  #mediaFailed() {
    if (this.#hadMedia && this.id && this.link.isOpen() && !this.#restarting) {
      this.#restarting = true;
      this.#attach({ iceRestart: true });
    } else {
      const isLoopback = isLoopbackOnly(this.connection?.remoteDescription?.sdp);
      this.hangUp("media-failed", { shown: isLoopback ? "media-loopback" : "media-failed" });
    }
  }

  /** @protected @param {string} cause @param {{reason?: string, byUs?: boolean}} [how] */
  finish(cause, how) {
    clearTimeout(this.#awayTimer);
    super.finish(cause, how);
  }
}
