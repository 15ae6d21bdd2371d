// One call: what a person does with it, and what the gateway tells of it. Made by GatewayClient; its media is call-media.js.

import { CallFields } from "./call-fields.js";
import { CallMedia, CallOver, CameraError, MicrophoneError } from "./call-media.js";
import { CallSession } from "./call-session.js";
import { hasVideo, isHolding, isLoopbackOnly } from "./media-sdp.js";

const AWAY_MS = 30_000; // as long as the gateway waits for us
const DIGITS_KEPT = 20;

/**
 * What a call asks of its client, beside its devices.
 * @typedef {object} Asked
 * @property {(method: string, params: object) => Promise<any>} request
 * @property {(method: string, params: object) => void} notify
 * @property {() => boolean} isOpen
 * @property {(call: Call) => Promise<void>} holdOthers  hold whatever else is talked in
 * @property {(call: Call, detail: object) => void} ended
 * @typedef {Asked & import("./call-media.js").Devices} Link
 */

/**
 * Events: "change"; "trouble" with detail Error (MicrophoneError, CameraError, RpcError) for what did not work while the
 * call goes on; "end" with detail {call, cause, reason, byUs}.
 */
export class Call extends CallFields {
  /** @type {Link} */
  #link;
  /** @type {CallMedia} */
  #media;
  #offer = "";
  #accepting = false;
  /** @type {CallSession} */
  #session;
  #turn = Promise.resolve(); // the latest change of the session
  #holdAgain = false; // it was held before the new offer, which says nothing of that
  #hadMedia = false;
  #restarting = false;
  #sent = false;
  #merging = false;
  #awayTimer = 0;

  /** @param {Link} link @param {{peer: string, incoming?: boolean, id?: string, name?: string, verified?: string, offer?: string}} from */
  constructor(link, { peer, incoming = false, id = "", name = "", verified = "none", offer = "" }) {
    super();
    this.#link = link;
    this.#offer = offer;
    Object.assign(this, { peer, incoming, id, name, verified, state: incoming ? "incoming" : "calling", offersVideo: hasVideo(offer) });
    this.#media = new CallMedia(link);
    this.#session = new CallSession(this.#media, link.request);
    this.#media.addEventListener("change", () => this.#changed());
    this.#media.addEventListener("state", () => this.#mediaChanged());
    this.#media.addEventListener("candidate", ({ detail }) => this.#tell("ice_candidate", "to_peer_id", detail));
  }

  /** "none" before there is a connection, then "connecting", "connected", "broken": what the browser says of the media. */
  get media() {
    return this.#media.state;
  }

  /** @returns {RTCPeerConnection | null} for its statistics */
  get connection() {
    return this.#media.connection;
  }

  /** @returns {MediaStream | null} the other side's sound */
  get remote() {
    return this.#media.sound;
  }

  /** @returns {MediaStream | null} the microphone's */
  get local() {
    return this.#media.microphone;
  }

  /** @returns {MediaStream | null} what the other side shows */
  get picture() {
    return this.held || this.heldByPeer ? null : this.#media.picture;
  }

  /** @returns {MediaStream | null} what our camera sees, while it is on */
  get camera() {
    return this.#media.camera;
  }

  /** Whether the other side's own sound has come: it replaces our ringback. */
  get heard() {
    return this.remote?.getAudioTracks()[0]?.muted === false;
  }

  // What a person does.

  /** Place it; called by GatewayClient.dial. */
  async place({ listenOnly = false, video = false } = {}) {
    try {
      await this.#link.holdOthers(this);
      await this.#openDevices(listenOnly, video);
      await this.#media.connect();
      const sdp = await this.#media.offer();
      const { call_id: id = "" } = await this.#link.request("offer", { to_peer_id: this.peer, sdp, type: "offer" });
      this.id = id;
      if (this.#over) this.#tell("disconnect", "peer_id");
      else this.#flush();
    } catch (error) {
      this.#failed(error);
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
      await this.#openDevices(listenOnly, video);
      await this.#link.holdOthers(this);
      await this.#media.connect({ offer: this.#offer });
      const sdp = await this.#media.answer();
      await this.#link.request("answer", { ...this.#addressed("to_peer_id"), sdp, type: "answer" });
      this.#flush();
      this.#talk();
    } catch (error) {
      this.#accepting = false;
      this.#failed(error);
    }
  }

  async #openDevices(listenOnly, video) {
    this.listenOnly = listenOnly;
    if (!listenOnly) await this.#media.openMicrophone();
    if (!video) return;
    try {
      await this.#media.openCamera();
    } catch (error) {
      if (!(error instanceof CameraError)) throw error;
      this.#trouble(error);
    }
  }

  /**
   * End, cancel or decline, whichever fits.
   * @param {string} [cause] why, where it was not the person's wish
   * @param {string} [shown] the cause the page tells, where it knows more than the other side needs to
   */
  hangUp(cause, shown = cause) {
    if (this.#over) return;
    const reason = cause ?? (this.state === "incoming" ? "declined" : undefined);
    if (this.incoming || this.id || this.#sent) this.#tell("disconnect", "peer_id", reason && { reason });
    this.#finish(shown ?? { incoming: "declined", talking: "normal" }[this.state] ?? "cancelled", { byUs: true });
  }

  toggleMute() {
    if (!this.local) return;
    this.muted = !this.muted;
    this.#openOrShut();
    this.#changed();
  }

  /** Hold it, or go on with it (other calls are held then). Resolves when the gateway has agreed. */
  async setHeld(hold) {
    await this.#change(async () => {
      if (hold === this.held) return;
      if (!hold) await this.#link.holdOthers(this);
      if (this.id) await this.#session.hold(hold, this.id);
      this.held = hold;
      this.#openOrShut();
    });
  }

  /** Show what the camera sees, or nothing more. "trouble" with a CameraError where there is no camera, or it is refused. */
  async setCamera(on) {
    const done = await this.#change(async () => {
      if (on === Boolean(this.camera) || this.held) return;
      if (on) await this.#media.openCamera();
      else this.#media.closeCamera();
      await this.#session.showCamera(this.#addressed("to_peer_id"));
    });
    if (!done && on) await this.#media.dropCamera();
  }

  /** One change of the session after the other. Resolves to whether it was made; "trouble" says why not. */
  async #change(work) {
    const made = this.#turn.then(async () => {
      await this.#session.settled();
      if (this.state !== "talking" || this.away) return false;
      const failure = await work().then(() => null, (error) => error);
      if (failure && !(failure instanceof CallOver)) this.#trouble(failure);
      this.#changed();
      return !failure;
    });
    this.#turn = made;
    return made;
  }

  /** Send a key tone: in the media where the other side takes it (RFC 4733), else by signalling. */
  digit(digit) {
    if (this.state === "incoming" || this.#over) return;
    const sender = this.connection?.getSenders().find(({ dtmf }) => dtmf?.canInsertDTMF)?.dtmf;
    if (sender) sender.insertDTMF(sender.toneBuffer + digit, 160, 70);
    else if (this.id) this.#tell("dtmf", "peer_id", { digit });
  }

  /** Record it, or no more; in a room that is the room's recording. "change" comes once it is so, "trouble" where it may not be. */
  async record(on) {
    const [method, params] = this.room
      ? [on ? "room.record" : "room.stop_recording", { room: this.room }]
      : ["call.record", { call_id: this.id, on }];
    await this.#link.request(method, params).catch((error) => this.#trouble(error));
  }

  /**
   * Leave the call to somebody else: a number (blind), or the other side of another call of ours (attended).
   * Resolves to whether it was done; if not, "trouble" says why and the call goes on.
   * @param {string | Call} to
   */
  async transfer(to) {
    if (this.state !== "talking" || !this.id || this.transferring) return false;
    this.transferring = true;
    this.#changed();
    try {
      const target = to instanceof Call ? { to_call_id: to.id } : { to_peer_id: to };
      await this.#link.request("call.transfer", { call_id: this.id, ...target });
      return true;
    } catch (error) {
      this.transferring = false;
      this.#changed();
      this.#trouble(error);
      return false;
    }
  }

  /** Its other side goes into a room, or does so no more: how its end is told depends on it (see GatewayClient.merge). */
  merging(begun) {
    if (begun === this.#merging) return;
    this.transferring = this.#merging = begun;
    this.#changed();
  }

  // Away and back (see GatewayClient).

  saved() {
    const kept = super.saved();
    return kept && { ...kept, video: Boolean(this.camera), seen: this.#media.hasVideo };
  }

  /** Take a call of before a reload, or of another device, over a new connection. */
  async restore({ savedAt, video = false, seen = false, ...kept }) {
    Object.assign(this, kept, { away: true });
    this.#changed();
    try {
      await this.#openDevices(this.listenOnly, video);
      await this.#media.connect({ video: seen });
      this.#openOrShut();
    } catch (error) {
      this.#failed(error);
      return;
    }
    await this.#attach({});
  }

  /** Signed in again: take the call back. Its media may stand; if not, ICE starts anew. */
  async reattach() {
    if (!this.away || this.#over) return;
    await this.#attach(this.connection?.connectionState === "connected" ? null : { iceRestart: true });
  }

  /** The socket is gone, the call is not: the gateway waits, and so do we. */
  cut() {
    if (this.#over) return;
    if (this.state === "incoming") {
      // It rings again when we are back, if the caller still waits.
      this.#finish("gone");
    } else if (!this.id) {
      this.#finish(this.state === "talking" ? "connection-lost" : "error");
    } else {
      this.away = true;
      this.#waitAway();
      this.#changed();
    }
  }

  /** Away, once it is, comes to an end, whether the gateway is gone or says nothing. */
  #waitAway() {
    this.#awayTimer ||= setTimeout(() => this.away && this.#finish("connection-lost"), AWAY_MS);
  }

  #isBack() {
    this.away = false;
    clearTimeout(this.#awayTimer);
    this.#awayTimer = 0;
  }

  /** `offer` are the options of createOffer, null where the media stands. */
  async #attach(offer) {
    if (this.away) this.#waitAway();
    try {
      const request = { call_id: this.id, ...(this.seq && { after: this.seq }) };
      if (offer) {
        request.sdp = await this.#session.offer(offer);
        this.#holdAgain = this.held;
      }
      const { state, cause, reason, from_name: name, seq, ...now } = await this.#link.request("call.attach", request);
      if (this.#over) return;
      this.#isBack();
      this.seq ||= seq;
      this.name ||= name ?? "";
      for (const key of ["verified", "recording", "room", "member"]) this[key] = now[key] ?? this[key];
      if (state === "ended") this.#finish(cause, { reason });
      else if (state === "answered") this.#talk();
      this.#flush();
      this.#changed();
    } catch (error) {
      if (error.code) this.#finish(error.data?.cause === "not-found" ? "connection-lost" : (error.data?.cause ?? "error"));
    }
  }

  // The media.

  #openOrShut() {
    this.#media.let({ voice: !this.muted && !this.held, picture: !this.held });
  }

  #flush() {
    this.#sent = true;
    this.#media.flushCandidates();
  }

  #mediaChanged() {
    if (this.#over) return;
    const state = this.connection.connectionState;
    if (state === "connected") {
      this.#hadMedia = true;
      this.#restarting = false;
    }
    if (state === "failed" && !this.away) this.#mediaFailed();
    this.#changed();
  }

  /** Once it was there, it may come back over another path; if it never was, there is no use in waiting. */
  #mediaFailed() {
    if (this.#hadMedia && this.id && this.#link.isOpen() && !this.#restarting) {
      this.#restarting = true;
      this.#attach({ iceRestart: true });
    } else {
      const isLoopback = isLoopbackOnly(this.connection.remoteDescription?.sdp);
      this.hangUp("media-failed", isLoopback ? "media-loopback" : "media-failed");
    }
  }

  // What the gateway tells.

  /** A notification about this call. */
  notified(method, params) {
    if (params.seq) {
      if (params.seq <= this.seq) return;
      this.seq = params.seq;
    }
    const handlers = {
      offer: () => this.#updated(params),
      answer: () => this.#answered(params),
      ice_candidate: () => this.#media.candidate(params),
      dtmf: () => this.#noted({ digits: (this.digits + params.digit).slice(-DIGITS_KEPT) }),
      call_state: () => this.#stateChanged(params),
      // Also where the session description does not say it: a PBX plays music on a line that stays open.
      call_held: () => this.#noted({ heldByPeer: params.held }),
      call_identified: () => this.#noted({ name: params.name || params.uri, verified: params.verified ?? "none" }),
      call_recorded: () => this.#noted({ recording: params.recording }),
      call_room: () => this.#noted({ room: params.room, member: params.member }),
      peer_disconnected: () => this.#finish(params.reason ?? "normal"),
      peer_left: () => this.#finish("connection-lost"),
    };
    handlers[method]?.();
  }

  #noted(what) {
    Object.assign(this, what);
    this.#changed();
  }

  async #answered(description) {
    try {
      await this.#session.answered(description);
      if (description.type === "rollback") this.#holdAgain = false;
      if (!this.id) this.#talk();
      if (this.#holdAgain) {
        this.#holdAgain = this.held = false;
        await this.setHeld(true);
      }
      await this.#lookAtVideo();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The far end changes the session: hold, video, another codec, another device. */
  async #updated({ sdp: offer }) {
    this.#noted({ heldByPeer: isHolding(offer) });
    this.#tell("answer", "to_peer_id", await this.#session.answer(offer, this.held));
    this.#flush();
    await this.#lookAtVideo();
    this.#changed();
  }

  /** The other side, or the gateway, takes no video: the camera is off then. */
  async #lookAtVideo() {
    if (!this.camera || this.#media.hasVideo || this.#session.isChanging) return;
    await this.#media.dropCamera();
    this.#trouble(new CameraError("refused"));
  }

  #stateChanged({ state, cause, reason }) {
    if (state === "ringing" && this.state === "calling") this.#noted({ state });
    else if (state === "answered") this.#talk();
    else if (state === "ended") this.#finish(this.state === "incoming" && cause === "cancelled" ? "missed" : cause, { reason });
  }

  #talk() {
    if (!this.#over && this.state !== "talking") this.#noted({ state: "talking", answeredAt: Date.now() });
  }

  #failed(error) {
    if (!error.code && this.id && !this.#link.isOpen()) return; // cut in the middle: `reattach` takes it up
    if (this.#over || error instanceof CallOver) return;
    if (error instanceof MicrophoneError) {
      if (this.state === "incoming") this.#trouble(error);
      else if (this.away) this.hangUp("microphone", error.name);
      else this.#finish("microphone", { reason: error.name });
      return;
    }
    if (this.id || this.incoming) this.#tell("disconnect", "peer_id");
    this.#finish(error.data?.cause ?? "error", { reason: error.data?.reason });
  }

  get #over() {
    return this.state === "ended";
  }

  #finish(cause, { reason, byUs = false } = {}) {
    if (this.#over) return;
    const before = this.state;
    this.state = "ended";
    clearTimeout(this.#awayTimer);
    this.#media.close();
    const gone = this.#merging ? "merged" : "transferred";
    const detail = { call: this, before, cause: this.transferring && cause === "normal" ? gone : cause, reason, byUs };
    this.#link.ended(this, detail);
    this.dispatchEvent(new CustomEvent("end", { detail }));
  }

  #addressed(name) {
    return this.id ? { [name]: this.peer, call_id: this.id } : { [name]: this.peer };
  }

  #tell(method, name, extra) {
    this.#link.notify(method, { ...this.#addressed(name), ...extra });
  }

  #trouble(error) {
    this.dispatchEvent(new CustomEvent("trouble", { detail: error }));
  }

  #changed() {
    if (!this.#over) this.dispatchEvent(new Event("change"));
  }
}
