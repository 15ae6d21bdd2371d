// One call: what a person does with it, and what the gateway tells of it. Made by GatewayClient; its media is call-media.js.

import { CallOver, CameraError } from "./call-media.js";
import { ReturningCall } from "./call-return.js";
import { TextError } from "./call-text.js";
import { isHolding } from "./media-sdp.js";

const DIGITS_KEPT = 20;
const TEXT_MS = 3_000; // so long a channel for text may take to open once the other side has answered

/**
 * Events: "change"; "trouble" with detail Error (MicrophoneError, CameraError, TextError, RpcError) for what did not work
 * while the call goes on; "end" with detail {call, cause, reason, byUs}.
 */
export class Call extends ReturningCall {
  #offer;
  #accepting = false;
  #turn = Promise.resolve(true); // the latest change of the session
  #asksForText = false;

  /** @param {import("./call-base.js").Link} link @param {import("./call-base.js").Origin} from */
  constructor(link, from) {
    super(link, from);
    this.#offer = from.offer ?? "";
    this.text.addEventListener("change", () => this.#textChanged());
  }

  // What a person does.

  /** Place it; called by GatewayClient.dial. */
  async place({ listenOnly = false, video = false, text = false } = {}) {
    try {
      await this.link.holdOthers(this);
      await this.openDevices(listenOnly, video);
      await this.rtc.connect({ text });
      const sdp = await this.rtc.offer();
      const { call_id: id = "" } = await this.link.request("offer", { to_peer_id: this.peer, sdp, type: "offer" });
      this.id = id;
      if (this.over) this.tell("disconnect", "peer_id");
      else this.flush();
    } catch (error) {
      this.failed(error);
    }
  }

  /**
   * Take the ringing call; other calls are held. Without a microphone it rings on, and "trouble" says why; without a camera
   * it is taken without one.
   */
  async accept({ listenOnly = false, video = false } = {}) {
    if (this.state !== "incoming" || this.#accepting) return;
    this.#accepting = true;
    try {
      await this.openDevices(listenOnly, video);
      await this.link.holdOthers(this);
      await this.rtc.connect({ offer: this.#offer });
      const sdp = await this.rtc.answer();
      await this.link.request("answer", { ...this.addressed("to_peer_id"), sdp, type: "answer" });
      this.flush();
      this.talk();
    } catch (error) {
      this.#accepting = false;
      this.failed(error);
    }
  }

  toggleMute() {
    if (!this.local) return;
    this.noted({ muted: !this.muted });
    this.openOrShut();
  }

  /** Hold it, or go on with it (other calls are held then). Resolves when the gateway has agreed. @param {boolean} hold */
  async setHeld(hold) {
    await this.#change(async () => {
      if (hold === this.held) return;
      if (!hold) await this.link.holdOthers(this);
      if (this.id) await this.session.hold(hold, this.id);
      this.noted({ held: hold });
      this.openOrShut();
    });
  }

  /** Show what the camera sees, or nothing more. "trouble" with a CameraError where there is no camera, or it is refused. @param {boolean} on */
  async setCamera(on) {
    const done = await this.#change(async () => {
      if (on === Boolean(this.camera) || this.held) return;
      if (on) await this.rtc.openCamera();
      else this.rtc.closeCamera();
      await this.session.showCamera(this.addressed("to_peer_id"));
    });
    if (!done && on) await this.rtc.dropCamera();
  }

  /** Ask the other side for text, where there is none. "trouble" with a TextError where it takes none. */
  async askForText() {
    const done = await this.#change(async () => {
      if (this.text.isOpen || this.held) return;
      this.#asksForText = true;
      await this.session.askForText(this.addressed("to_peer_id"));
    });
    if (done) await this.session.settled();
    setTimeout(() => this.over || this.text.giveUp(), done ? TEXT_MS : 0);
  }

  #textChanged() {
    if (this.text.isOpen || this.text.refused) {
      const wasRefused = this.text.refused && this.#asksForText;
      this.#asksForText = false;
      if (wasRefused) this.trouble(new TextError());
    }
    this.changed();
  }

  /** One change of the session after the other. Resolves to whether it was made; "trouble" says why not. @param {() => Promise<void>} work */
  async #change(work) {
    const made = this.#turn.then(async () => {
      await this.session.settled();
      if (this.state !== "talking" || this.away) return false;
      const failure = await work().then(() => null, (error) => error);
      if (failure && !(failure instanceof CallOver)) this.trouble(failure);
      this.changed();
      return !failure;
    });
    this.#turn = made;
    return made;
  }

  /** Send a key tone: in the media where the other side takes it (RFC 4733), else by signalling. @param {string} digit */
  digit(digit) {
    if (this.state === "incoming" || this.over) return;
    const sender = this.connection?.getSenders().find(({ dtmf }) => dtmf?.canInsertDTMF)?.dtmf;
    if (sender) sender.insertDTMF(sender.toneBuffer + digit, 160, 70);
    else if (this.id) this.tell("dtmf", "peer_id", { digit });
  }

  /** Record it, or no more; in a room that is the room's recording. "change" comes once it is so, "trouble" where it may not be. @param {boolean} on */
  async record(on) {
    const [method, params] = this.room
      ? [on ? "room.record" : "room.stop_recording", { room: this.room }]
      : ["call.record", { call_id: this.id, on }];
    await this.link.request(method, params).catch((error) => this.trouble(error));
  }

  /**
   * Leave the call to somebody else: a number (blind), or the other side of another call of ours (attended).
   * Resolves to whether it was done; if not, "trouble" says why and the call goes on.
   * @param {string | Call} to
   */
  async transfer(to) {
    if (this.state !== "talking" || !this.id || this.transferring) return false;
    this.noted({ transferring: true });
    try {
      const target = to instanceof Call ? { to_call_id: to.id } : { to_peer_id: to };
      await this.link.request("call.transfer", { call_id: this.id, ...target });
      return true;
    } catch (error) {
      this.noted({ transferring: false });
      this.trouble(error);
      return false;
    }
  }

  // What the gateway tells.

  /** A notification about this call: docs/json-rpc.md. @param {string} method @param {any} params */
  notified(method, params) {
    if (params.seq) {
      if (params.seq <= this.seq) return;
      Object.assign(this, { seq: params.seq });
    }
    /** @type {Record<string, () => void>} */
    const handlers = {
      offer: () => this.#updated(params),
      answer: () => this.#answered(params),
      ice_candidate: () => this.rtc.candidate(params),
      dtmf: () => this.noted({ digits: (this.digits + params.digit).slice(-DIGITS_KEPT) }),
      call_state: () => this.#stateChanged(params),
      // Also where the session description does not say it: a PBX plays music on a line that stays open.
      call_held: () => this.noted({ heldByPeer: params.held }),
      call_identified: () => this.noted({ name: params.name || params.uri, verified: params.verified ?? "none" }),
      call_recorded: () => this.noted({ recording: params.recording }),
      call_room: () => this.noted({ room: params.room, member: params.member }),
      peer_disconnected: () => this.finish(params.reason ?? "normal"),
      peer_left: () => this.finish("connection-lost"),
    };
    handlers[method]?.();
  }

  /** @param {{sdp: string, type: string}} description */
  async #answered(description) {
    try {
      await this.session.answered(description);
      if (description.type === "rollback") Object.assign(this, { holdAgain: false });
      if (!this.id) this.talk();
      if (this.holdAgain) {
        Object.assign(this, { holdAgain: false, held: false });
        await this.setHeld(true);
      }
      await this.#lookAtVideo();
    } catch (error) {
      this.failed(error);
    }
  }

  /**
   * The far end changes the session: hold, video, another codec, another device; the answer names the offer.
   * @param {{sdp: string, exchange?: number}} params
   */
  async #updated({ sdp: offer, exchange }) {
    this.noted({ heldByPeer: isHolding(offer) });
    this.tell("answer", "to_peer_id", { ...(await this.session.answer(offer, this.held)), exchange });
    this.flush();
    await this.#lookAtVideo();
    this.changed();
  }

  /** The other side, or the gateway, takes no video: the camera is off then. */
  async #lookAtVideo() {
    if (!this.camera || this.rtc.hasVideo || this.session.isChanging) return;
    await this.rtc.dropCamera();
    this.trouble(new CameraError("refused"));
  }

  /** @param {{state: string, cause: string, reason?: string}} params */
  #stateChanged({ state, cause, reason }) {
    if (state === "ringing" && this.state === "calling") this.noted({ state });
    else if (state === "answered") this.talk();
    else if (state === "ended") this.finish(this.state === "incoming" && cause === "cancelled" ? "missed" : cause, { reason });
  }
}
