// One call: its microphone, its RTCPeerConnection, what the gateway tells of it. Made by GatewayClient.

const AWAY_MS = 30_000; // as long as the gateway waits for us
const DIGITS_KEPT = 20;

/** A microphone that cannot be had; `name` is getUserMedia's, or "InsecureContext" where pages get none at all. */
export class MicrophoneError extends Error {
  constructor(name) {
    super(name);
    this.name = name;
  }
}

class CallOver extends Error {}

/**
 * What a call asks of its client.
 * @typedef {object} Link
 * @property {(method: string, params: object) => Promise<any>} request
 * @property {(method: string, params: object) => void} notify
 * @property {() => boolean} isOpen
 * @property {() => Promise<RTCIceServer[]>} iceServers
 * @property {() => MediaTrackConstraints} microphone
 * @property {(call: Call) => Promise<void>} holdOthers  hold whatever else is talked in
 * @property {(call: Call, detail: object) => void} ended
 */

/** Whether the gateway offered no address but loopback, which Firefox never uses. */
function loopbackOnly(connection) {
  const candidates = connection.remoteDescription?.sdp.match(/^a=candidate:.*$/gm) ?? [];
  return candidates.length > 0 && candidates.every((line) => /^(127\.|::1$)/.test(line.split(" ")[4]));
}

/**
 * Events: "change"; "trouble" with detail Error (MicrophoneError, RpcError) for what did not work while the call goes
 * on; "end" with detail {call, cause, reason, byUs}.
 */
export class Call extends EventTarget {
  /** Id at the gateway, "" for a call to a guest, which goes from browser to browser. */
  id = "";
  /** Who is at the other end: what was dialled, or the caller's address. */
  peer;
  /** The other end's display name, "" if it has none. */
  name = "";
  incoming;
  /** @type {"calling" | "ringing" | "incoming" | "talking" | "ended"} */
  state;
  /** Milliseconds since 1970. */
  startedAt = Date.now();
  answeredAt = 0;
  muted = false;
  held = false;
  heldByPeer = false;
  /** The gateway cannot be reached, or we are not back yet: it waits. */
  away = false;
  /** It is being transferred. */
  transferring = false;
  /** The latest digits the other side has pressed. */
  digits = "";
  /** Number of the latest event the gateway told of it. */
  seq = 0;
  /** @type {MediaStream | null} */
  remote = null;
  /** @type {MediaStream | null} the microphone's */
  local = null;
  /** @type {RTCPeerConnection | null} */
  connection = null;

  /** @type {Link} */
  #link;
  #offer = "";
  #listenOnly = false;
  #accepting = false;
  #changing = false;
  #holding = false;
  #holdAgain = false; // it was held before the new offer, which says nothing of that
  #hadMedia = false;
  #restarting = false;
  #sent = false;
  #awayTimer = 0;
  #localCandidates = [];
  #remoteCandidates = [];

  /** @param {Link} link @param {{peer: string, incoming?: boolean, id?: string, name?: string, offer?: string}} from */
  constructor(link, { peer, incoming = false, id = "", name = "", offer = "" }) {
    super();
    this.#link = link;
    Object.assign(this, { peer, incoming, id, name, state: incoming ? "incoming" : "calling" });
    this.#offer = offer;
  }

  /** "none" before there is a connection, then "connecting", "connected", "broken": what the browser says of the media. */
  get media() {
    const state = this.connection?.connectionState ?? "none";
    return { new: "connecting", disconnected: "broken", failed: "broken", closed: "none" }[state] ?? state;
  }

  /** Whether the other side's own sound has come: it replaces our ringback. */
  get heard() {
    return this.remote?.getAudioTracks()[0]?.muted === false;
  }

  // What a person does.

  /** Place it; called by GatewayClient.dial. */
  async place({ listenOnly = false } = {}) {
    this.#listenOnly = listenOnly;
    try {
      await this.#link.holdOthers(this);
      await this.#openMicrophone();
      await this.#connect();
      await this.connection.setLocalDescription(await this.connection.createOffer());
      const { sdp, type } = this.connection.localDescription;
      const { call_id: id = "" } = await this.#link.request("offer", { to_peer_id: this.peer, sdp, type });
      this.id = id;
      if (this.#over) this.#tell("disconnect", "peer_id");
      else this.#flushLocal();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Take the ringing call; other calls are held. Without a microphone it rings on, and "trouble" says why. */
  async accept({ listenOnly = false } = {}) {
    if (this.state !== "incoming" || this.#accepting) return;
    this.#accepting = true;
    this.#listenOnly = listenOnly;
    try {
      await this.#openMicrophone();
      await this.#link.holdOthers(this);
      await this.#connect(this.#offer);
      await this.connection.setLocalDescription(await this.connection.createAnswer());
      const { sdp, type } = this.connection.localDescription;
      await this.#link.request("answer", { ...this.#addressed("to_peer_id"), sdp, type });
      this.#flushLocal();
      this.#talk();
    } catch (error) {
      this.#accepting = false;
      this.#failed(error);
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
    if (this.state !== "talking" || this.away || this.#changing || hold === this.held) return;
    this.#changing = true;
    let failure = null;
    try {
      if (!hold) await this.#link.holdOthers(this);
      if (this.id) await this.#negotiateHold(hold);
      this.held = hold;
      this.#openOrShut();
    } catch (error) {
      await this.connection?.setLocalDescription({ type: "rollback" }).catch(() => {});
      failure = error;
    }
    this.#changing = false;
    this.#changed();
    if (failure) this.#trouble(failure);
  }

  /**
   * An offer that says so (RFC 3264 section 8.4), with the microphone off meanwhile. The browser's own transceiver
   * stays as it is: Chromium never plays a track again whose direction was taken away and given back.
   */
  async #negotiateHold(hold) {
    await this.connection.setLocalDescription(await this.connection.createOffer());
    const written = this.connection.localDescription.sdp;
    const sdp = hold ? written.replace(/^a=sendrecv/m, "a=sendonly").replace(/^a=recvonly/m, "a=inactive") : written;
    this.#holding = hold;
    await this.#link.request(hold ? "call.hold" : "call.resume", { call_id: this.id, sdp });
  }

  /** Send a key tone: in the media where the other side takes it (RFC 4733), else by signalling. */
  digit(digit) {
    if (this.state === "incoming" || this.#over) return;
    const sender = this.connection?.getSenders().find(({ dtmf }) => dtmf?.canInsertDTMF)?.dtmf;
    if (sender) sender.insertDTMF(sender.toneBuffer + digit, 160, 70);
    else if (this.id) this.#tell("dtmf", "peer_id", { digit });
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

  // Away and back (see GatewayClient).

  /** What a reload needs to take the call back. Null for a call that cannot be. */
  saved() {
    if (!this.id || this.state === "incoming" || this.#over) return null;
    const { id, peer, name, incoming, state, startedAt, answeredAt, held, seq } = this;
    return { id, peer, name, incoming, state, startedAt, answeredAt, held, seq, savedAt: Date.now() };
  }

  /** Take a call of before a reload, or of another device, over a new connection. */
  async restore(saved) {
    const { savedAt, ...kept } = saved;
    Object.assign(this, kept, { away: true });
    this.#changed();
    try {
      await this.#openMicrophone();
      await this.#connect();
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
    if (this.away || this.#over) return;
    if (this.state === "incoming") {
      // It rings again when we are back, if the caller still waits.
      this.#finish("gone");
    } else if (!this.id) {
      this.#finish(this.state === "talking" ? "connection-lost" : "error");
    } else {
      this.away = true;
      this.#awayTimer = setTimeout(() => this.away && this.#finish("connection-lost"), AWAY_MS);
      this.#changed();
    }
  }

  /** `offer` are the options of createOffer, null where the media stands. */
  async #attach(offer) {
    try {
      const request = { call_id: this.id, ...(this.seq && { after: this.seq }) };
      if (offer) {
        await this.connection.setLocalDescription(await this.connection.createOffer(offer));
        request.sdp = this.connection.localDescription.sdp;
        this.#holding = false;
        this.#holdAgain = this.held;
      }
      const { state, cause, reason, from_name: name, seq } = await this.#link.request("call.attach", request);
      if (this.#over) return;
      this.away = false;
      this.seq ||= seq;
      clearTimeout(this.#awayTimer);
      this.name ||= name ?? "";
      if (state === "ended") this.#finish(cause, { reason });
      else if (state === "answered") this.#talk();
      if (this.#localCandidates) this.#flushLocal();
      this.#changed();
    } catch (error) {
      if (error.code) this.#finish(error.data?.cause === "not-found" ? "connection-lost" : (error.data?.cause ?? "error"));
    }
  }

  // The microphone and the connection.

  #openOrShut() {
    for (const track of this.local?.getAudioTracks() ?? []) track.enabled = !this.muted && !this.held;
  }

  async #openMicrophone() {
    if (this.#listenOnly) return;
    if (!navigator.mediaDevices) throw new MicrophoneError("InsecureContext");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: this.#link.microphone() });
    } catch (error) {
      throw new MicrophoneError(error.name);
    }
    if (this.#over) {
      stop(stream);
      throw new CallOver();
    }
    this.local = stream;
  }

  async #connect(offer) {
    const connection = new RTCPeerConnection({ iceServers: await this.#link.iceServers(), bundlePolicy: "max-bundle" });
    if (this.#over) {
      connection.close();
      throw new CallOver();
    }
    this.connection = connection;
    connection.addEventListener("icecandidate", ({ candidate }) => this.#localCandidate(candidate));
    connection.addEventListener("track", ({ track }) => this.#hear(track));
    connection.addEventListener("connectionstatechange", () => this.#connectionChanged(connection));
    if (offer) await connection.setRemoteDescription({ type: "offer", sdp: offer });
    if (this.local) for (const track of this.local.getAudioTracks()) connection.addTrack(track, this.local);
    else if (!offer) connection.addTransceiver("audio", { direction: "recvonly" });
    if (offer) this.#flushRemote();
  }

  #connectionChanged(connection) {
    if (this.#over || this.connection !== connection) return;
    if (connection.connectionState === "connected") {
      this.#hadMedia = true;
      this.#restarting = false;
    }
    if (connection.connectionState === "failed" && !this.away) this.#mediaFailed();
    this.#changed();
  }

  /** Once it was there, it may come back over another path; if it never was, there is no use in waiting. */
  #mediaFailed() {
    if (this.#hadMedia && this.id && this.#link.isOpen() && !this.#restarting) {
      this.#restarting = true;
      this.#attach({ iceRestart: true });
    } else this.hangUp("media-failed", loopbackOnly(this.connection) ? "media-loopback" : "media-failed");
  }

  #hear(track) {
    this.remote = new MediaStream([track]);
    // The first packet: whatever the far end plays replaces our own ringback.
    track.addEventListener("unmute", () => this.#changed());
    this.#changed();
  }

  // ICE candidates, ours and theirs, each held until the other side can use them.

  #localCandidate(candidate) {
    const { sdpMid = null, sdpMLineIndex = null } = candidate ?? {};
    const line = { candidate: candidate?.candidate ?? "", sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex };
    if (this.#localCandidates) this.#localCandidates.push(line);
    else this.#tell("ice_candidate", "to_peer_id", line);
  }

  #flushLocal() {
    const lines = this.#localCandidates ?? [];
    this.#localCandidates = null;
    this.#sent = true;
    for (const line of lines) this.#tell("ice_candidate", "to_peer_id", line);
  }

  #remoteCandidate({ candidate, sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex }) {
    if (!this.connection?.remoteDescription) {
      this.#remoteCandidates.push({ candidate, sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex });
      return;
    }
    const known = sdpMid !== null || sdpMLineIndex !== null;
    const line = candidate || known ? { candidate, sdpMid, sdpMLineIndex } : null;
    // One unusable candidate (an unknown kind, a .local name) must not end the call.
    this.connection.addIceCandidate(line).catch(() => {});
  }

  #flushRemote() {
    for (const line of this.#remoteCandidates.splice(0)) this.#remoteCandidate(line);
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
      ice_candidate: () => this.#remoteCandidate(params),
      dtmf: () => this.#pressed(params),
      call_state: () => this.#stateChanged(params),
      call_held: () => this.#heldByPeer(params.held),
      call_identified: () => this.#identified(params),
      peer_disconnected: () => this.#finish(params.reason ?? "normal"),
      peer_left: () => this.#finish("connection-lost"),
    };
    handlers[method]?.();
  }

  async #answered({ sdp, type }) {
    try {
      const answer = this.#holding ? sdp?.replace(/^a=(recvonly|inactive)/m, "a=sendrecv") : sdp;
      await this.connection.setRemoteDescription(type === "rollback" ? { type } : { type: "answer", sdp: answer });
      this.#flushRemote();
      if (!this.id) this.#talk();
      if (this.#holdAgain) {
        this.#holdAgain = this.held = false;
        await this.setHeld(true);
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  /** The far end changes the session: hold, another codec, another device. */
  async #updated({ sdp: offer }) {
    const answer = (description) => this.#tell("answer", "to_peer_id", description);
    this.heldByPeer = /^a=(sendonly|inactive)\r?$/m.test(offer);
    this.#changed();
    try {
      await this.connection.setRemoteDescription({ type: "offer", sdp: offer });
      await this.connection.setLocalDescription(await this.connection.createAnswer());
      const { sdp, type } = this.connection.localDescription;
      answer({ sdp, type });
    } catch {
      if (this.connection?.signalingState === "have-remote-offer") {
        await this.connection.setRemoteDescription({ type: "rollback" }).catch(() => {});
      }
      answer({ type: "rollback" });
    }
  }

  #pressed({ digit }) {
    this.digits = (this.digits + digit).slice(-DIGITS_KEPT);
    this.#changed();
  }

  /** Also where the session description does not say it: a PBX plays music on a line that stays open. */
  #heldByPeer(held) {
    this.heldByPeer = held;
    this.#changed();
  }

  #identified({ name, uri }) {
    this.name = name || uri;
    this.#changed();
  }

  #stateChanged({ state, cause, reason }) {
    if (state === "ringing" && this.state === "calling") {
      this.state = "ringing";
      this.#changed();
    } else if (state === "answered") {
      this.#talk();
    } else if (state === "ended") {
      this.#finish(this.state === "incoming" && cause === "cancelled" ? "missed" : cause, { reason });
    }
  }

  #talk() {
    if (this.#over || this.state === "talking") return;
    this.state = "talking";
    this.answeredAt = Date.now();
    this.#changed();
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
    this.connection?.close();
    if (this.local) stop(this.local);
    this.remote = null;
    const told = this.transferring && cause === "normal" ? "transferred" : cause;
    const detail = { call: this, before, cause: told, reason, byUs };
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

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
