// What is known of one call. See Call.

import { Emitter } from "./events.js";

/**
 * @typedef {"calling" | "ringing" | "incoming" | "talking" | "ended"} CallState
 * @typedef {"passed" | "failed" | "none"} Verdict
 * @typedef {Pick<CallFields, "id" | "peer" | "name" | "verified" | "incoming" | "state" | "startedAt" | "answeredAt" | "muted"
 *   | "listenOnly" | "held" | "seq"> & {savedAt: number}} Saved
 */

export class CallFields extends Emitter {
  /** Id at the gateway, "" for a call to a guest, which goes from browser to browser. */
  id = "";
  /** Who is at the other end: what was dialled, or the caller's address. */
  peer = "";
  /** The other end's display name, "" if it has none. */
  name = "";
  /** What its trunk says of the signature of its number. @type {Verdict} */
  verified = "none";
  incoming = false;
  /** The other side wants to show us something. */
  offersVideo = false;
  /** @type {CallState} */
  state = "calling";
  /** Milliseconds since 1970. */
  startedAt = Date.now();
  answeredAt = 0;
  muted = false;
  /** It is listened to without a microphone. */
  listenOnly = false;
  held = false;
  heldByPeer = false;
  /** The gateway cannot be reached, or we are not back yet: it waits. */
  away = false;
  /** It is being transferred. */
  transferring = false;
  /** It, or the room it is in, is recorded. */
  recording = false;
  /** The conference room it is in, and our id there; "" outside of one. */
  room = "";
  member = "";
  /** The latest digits the other side has pressed. */
  digits = "";
  /** Number of the latest event the gateway told of it. */
  seq = 0;

  /** What a reload needs to take the call back. Null for a call that cannot be. @returns {Saved | null} */
  saved() {
    if (!this.id || this.state === "incoming" || this.state === "ended") return null;
    const { id, peer, name, verified, incoming, state, startedAt, answeredAt, muted, listenOnly, held, seq } = this;
    return { id, peer, name, verified, incoming, state, startedAt, answeredAt, muted, listenOnly, held, seq, savedAt: Date.now() };
  }
}
