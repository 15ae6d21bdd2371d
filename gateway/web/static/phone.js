// One telephone line: its call, its microphone, its RTCPeerConnection. Knows /rpc, knows nothing of the page.

import { MicrophoneError } from "./words.js";

const ICE_SERVERS_MS = 300_000;
const AWAY_MS = 30_000; // as long as the gateway waits for us

/** Whether the gateway offered no address but loopback, which Firefox never uses. */
function loopbackOnly(connection) {
  const candidates = connection.remoteDescription?.sdp.match(/^a=candidate:.*$/gm) ?? [];
  return candidates.length > 0 && candidates.every((line) => /^(127\.|::1$)/.test(line.split(" ")[4]));
}

/** Events: "change" when the call changes, "end" with detail {call, cause, reason}, "trouble" with detail Error. */
export class Phone extends EventTarget {
  #rpc;
  #audio;
  #iceServers = null;
  #microphone;

  /**
   * The call of the moment: {peer, name, incoming, state, answeredAt, muted, held, heldByPeer, away};
   * state "calling", "ringing", "incoming", "talking"; what is heard of it, `media(call)`.
   */
  call = null;

  /** Id of the microphone to use, "" for the system's choice. */
  microphone = "";

  /** "none" before there is a connection, then "connecting", "connected", "broken": what the browser says of the media. */
  static media(call) {
    const state = call?.connection?.connectionState ?? "none";
    return { new: "connecting", disconnected: "broken", failed: "broken", closed: "none" }[state] ?? state;
  }

  /** `raw` leaves the microphone as it is: no echo cancelling, no noise suppression (music, measurements). */
  constructor(rpc, audio, { raw = false } = {}) {
    super();
    this.#rpc = rpc;
    this.#audio = audio;
    this.#microphone = { echoCancellation: !raw, noiseSuppression: !raw, autoGainControl: !raw };
    rpc.addEventListener("notification", ({ detail }) => this.#notified(detail.method, detail.params ?? {}));
    rpc.addEventListener("close", () => this.#cut());
  }

  /** Call a number, a name or a SIP address; `listenOnly` does without a microphone. */
  async dial(peer, { listenOnly = false } = {}) {
    if (this.call) return;
    const call = (this.call = Object.assign(newCall(peer, false), { listenOnly }));
    this.#changed();
    try {
      const stream = await this.#openMicrophone(call);
      const connection = await this.#connect(call, stream);
      await connection.setLocalDescription(await connection.createOffer());
      const { sdp, type } = connection.localDescription;
      const { call_id: id } = await this.#rpc.request("offer", { to_peer_id: peer, sdp, type });
      call.id = id;
      if (call.over) this.#tell("disconnect", call, "peer_id");
      else this.#flushLocal(call);
    } catch (error) {
      this.#failed(call, error);
    }
  }

  /** Take the ringing call. Without a microphone it rings on, and "trouble" says why. */
  async accept({ listenOnly = false } = {}) {
    const call = this.call;
    if (call?.state !== "incoming" || call.accepting) return;
    Object.assign(call, { accepting: true, listenOnly });
    try {
      const stream = await this.#openMicrophone(call);
      const connection = await this.#connect(call, stream, call.offer);
      await connection.setLocalDescription(await connection.createAnswer());
      const { sdp, type } = connection.localDescription;
      await this.#rpc.request("answer", { ...addressed(call, "to_peer_id"), sdp, type });
      this.#flushLocal(call);
      this.#talk(call);
    } catch (error) {
      call.accepting = false;
      this.#failed(call, error);
    }
  }

  /** End, cancel or decline, whichever fits; `cause` says why where it was not the person's wish. */
  /** End the call. `shown` is the cause the page tells, where it knows more than the other side needs to. */
  hangUp(cause, shown = cause) {
    const call = this.call;
    if (!call) return;
    const reason = cause ?? (call.state === "incoming" ? "declined" : undefined);
    if (call.incoming || call.id || call.sent) this.#tell("disconnect", call, "peer_id", reason && { reason });
    this.#finish(call, shown ?? { incoming: "declined", talking: "normal" }[call.state] ?? "cancelled", { byUs: true });
  }

  /**
   * Hold and resume: an offer that says so (RFC 3264 section 8.4), with the microphone off meanwhile. The browser's own
   * transceiver stays as it is: Chromium never plays a track again whose direction was taken away and given back.
   */
  async toggleHold() {
    const call = this.call;
    if (call?.state !== "talking" || call.away || call.changing) return;
    call.changing = true;
    const hold = !call.held;
    try {
      await call.connection.setLocalDescription(await call.connection.createOffer());
      const written = call.connection.localDescription.sdp;
      const sdp = hold ? written.replace(/^a=sendrecv/m, "a=sendonly") : written;
      call.holding = hold;
      await this.#rpc.request(hold ? "call.hold" : "call.resume", { call_id: call.id, sdp });
      call.held = hold;
      this.#openOrShut(call);
    } catch (error) {
      await call.connection.setLocalDescription({ type: "rollback" }).catch(() => {});
      this.dispatchEvent(new CustomEvent("trouble", { detail: error }));
    }
    call.changing = false;
    this.#changed();
  }

  /** After signing in again: take the call back. Its media may stand; if not, ICE starts anew. */
  async reattach() {
    const call = this.call;
    if (!call?.away) return;
    if (!call.id) {
      this.#finish(call, "connection-lost");
      return;
    }
    const stands = call.connection?.connectionState === "connected";
    await this.#attach(call, stands ? null : { iceRestart: true });
  }

  /** What a reload needs to take the call back: see `restore`. Null without a call that can be. */
  saved() {
    const call = this.call;
    if (!call?.id || call.state === "incoming") return null;
    const { id, peer, name, incoming, state, startedAt, answeredAt, seq } = call;
    return { id, peer, name, incoming, state, startedAt, answeredAt, seq, savedAt: Date.now() };
  }

  /** The page was reloaded: the same call over a new connection. */
  async restore(saved) {
    if (this.call || Date.now() - saved.savedAt > AWAY_MS) return;
    const call = (this.call = Object.assign(newCall(saved.peer, saved.incoming), saved, { away: true }));
    call.localCandidates = [];
    this.#changed();
    try {
      await this.#openMicrophone(call);
      await this.#connect(call, call.stream);
    } catch (error) {
      this.#failed(call, error);
      return;
    }
    await this.#attach(call, {});
  }

  /** `offer` are the options of createOffer, null where the media stands. */
  async #attach(call, offer) {
    try {
      const request = { call_id: call.id, after: call.seq };
      if (offer) {
        await call.connection.setLocalDescription(await call.connection.createOffer(offer));
        request.sdp = call.connection.localDescription.sdp;
      }
      const { state, cause, reason } = await this.#rpc.request("call.attach", request);
      if (call.over) return;
      call.away = false;
      clearTimeout(call.awayTimer);
      if (state === "ended") this.#finish(call, cause, { reason });
      else if (state === "answered") this.#talk(call);
      if (call.localCandidates) this.#flushLocal(call);
      this.#changed();
    } catch (error) {
      if (error.code) this.#finish(call, error.data?.cause === "not-found" ? "connection-lost" : (error.data?.cause ?? "error"));
    }
  }

  /** The socket is gone, the call is not: the gateway waits, and so do we. */
  #cut() {
    const call = this.call;
    if (!call || call.away) return;
    if (call.state === "incoming") {
      // It rings again when we are back, if the caller still waits.
      call.over = true;
      this.call = null;
    } else if (!call.id) {
      this.#finish(call, call.state === "talking" ? "connection-lost" : "error");
    } else {
      call.away = true;
      call.awayTimer = setTimeout(() => this.call === call && call.away && this.#finish(call, "connection-lost"), AWAY_MS);
    }
    this.#changed();
  }

  #openOrShut(call) {
    for (const track of call.stream?.getAudioTracks() ?? []) track.enabled = !call.muted && !call.held;
  }

  toggleMute() {
    const call = this.call;
    if (!call?.stream) return;
    call.muted = !call.muted;
    this.#openOrShut(call);
    this.#changed();
  }

  /** Send a key tone: in the media where the other side takes it (RFC 4733), else by signalling. */
  digit(digit) {
    const call = this.call;
    if (!call || call.state === "incoming") return;
    const sender = call.connection?.getSenders().find(({ dtmf }) => dtmf?.canInsertDTMF)?.dtmf;
    if (sender) sender.insertDTMF(sender.toneBuffer + digit, 160, 70);
    else if (call.id) this.#tell("dtmf", call, "peer_id", { digit });
  }

  async #openMicrophone(call) {
    if (call.listenOnly) return null;
    if (!navigator.mediaDevices) throw new MicrophoneError("InsecureContext");
    let stream;
    try {
      const device = this.microphone && { deviceId: { ideal: this.microphone } };
      stream = await navigator.mediaDevices.getUserMedia({ audio: { ...this.#microphone, ...device } });
    } catch (error) {
      throw new MicrophoneError(error.name);
    }
    if (call.over) {
      stop(stream);
      throw new CallOver();
    }
    return (call.stream = stream);
  }

  async #connect(call, stream, offer) {
    const connection = new RTCPeerConnection({ iceServers: await this.#servers(), bundlePolicy: "max-bundle" });
    if (call.over) {
      connection.close();
      throw new CallOver();
    }
    call.connection = connection;
    connection.addEventListener("icecandidate", ({ candidate }) => this.#localCandidate(call, candidate));
    connection.addEventListener("track", ({ track }) => this.#hear(call, track));
    connection.addEventListener("connectionstatechange", () => {
      if (this.call !== call || call.connection !== connection) return;
      if (connection.connectionState === "connected") Object.assign(call, { hadMedia: true, restarting: false });
      if (connection.connectionState === "failed" && !call.away) this.#mediaFailed(call);
      this.#changed();
    });
    if (offer) await connection.setRemoteDescription({ type: "offer", sdp: offer });
    if (stream) for (const track of stream.getAudioTracks()) connection.addTrack(track, stream);
    else if (!offer) connection.addTransceiver("audio", { direction: "recvonly" });
    if (offer) this.#flushRemote(call);
    return connection;
  }

  /** Once it was there, it may come back over another path; if it never was, there is no use in waiting. */
  #mediaFailed(call) {
    if (call.hadMedia && call.id && this.#rpc.isOpen && !call.restarting) {
      call.restarting = true;
      this.#attach(call, { iceRestart: true });
    } else this.hangUp("media-failed", loopbackOnly(call.connection) ? "media-loopback" : "media-failed");
  }

  async #servers() {
    if (!this.#iceServers || Date.now() - this.#iceServers.at > ICE_SERVERS_MS) {
      const servers = await fetch("iceservers")
        .then((response) => (response.ok ? response.json() : []))
        .catch(() => []);
      this.#iceServers = { at: Date.now(), servers };
    }
    return this.#iceServers.servers;
  }

  #hear(call, track) {
    call.remoteTrack = track;
    this.#audio.srcObject = new MediaStream([track]);
    this.#audio.play().catch(() => {});
    // The first packet: whatever the far end plays replaces our own ringback.
    track.addEventListener("unmute", () => this.#changed());
  }

  // ICE candidates, ours and theirs, each held until the other side can use them.

  #localCandidate(call, candidate) {
    const line = { candidate: candidate?.candidate ?? "", sdp_mid: candidate?.sdpMid ?? null, sdp_mline_index: candidate?.sdpMLineIndex ?? null };
    if (call.localCandidates) call.localCandidates.push(line);
    else this.#tell("ice_candidate", call, "to_peer_id", line);
  }

  #flushLocal(call) {
    const lines = call.localCandidates ?? [];
    call.localCandidates = null;
    call.sent = true;
    for (const line of lines) this.#tell("ice_candidate", call, "to_peer_id", line);
  }

  #remoteCandidate(call, { candidate, sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex }) {
    if (!call.connection?.remoteDescription) {
      call.remoteCandidates.push({ candidate, sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex });
      return;
    }
    const known = sdpMid !== null || sdpMLineIndex !== null;
    const line = candidate || known ? { candidate, sdpMid, sdpMLineIndex } : null;
    // One unusable candidate (an unknown kind, a .local name) must not end the call.
    call.connection.addIceCandidate(line).catch(() => {});
  }

  #flushRemote(call) {
    for (const line of call.remoteCandidates.splice(0)) this.#remoteCandidate(call, line);
  }

  // What the gateway and other peers tell.

  #notified(method, params) {
    if (method === "offer") {
      this.#offered(params);
      return;
    }
    const call = this.call;
    const peer = params.from_peer_id ?? params.peer_id;
    const ours = call && (params.call_id ? params.call_id === call.id : !call.id && peer === call.peer);
    if (!ours) return;
    if (params.seq) {
      if (params.seq <= call.seq) return;
      call.seq = params.seq;
    }
    const handlers = {
      answer: () => this.#answered(call, params),
      ice_candidate: () => this.#remoteCandidate(call, params),
      call_state: () => this.#stateChanged(call, params),
      peer_disconnected: () => this.#finish(call, params.reason ?? "normal"),
      peer_left: () => this.#finish(call, "connection-lost"),
    };
    handlers[method]?.();
  }

  #offered({ from_peer_id: peer, call_id: id, from_name: name, sdp, update }) {
    const call = this.call;
    if (call && (id ? call.id === id : call.state === "talking" && call.peer === peer)) {
      this.#updated(call, sdp);
      return;
    }
    if (update) return;
    if (call) {
      // This device is taken: the person's others ring on, and who called is told here.
      this.#rpc.notify("disconnect", { peer_id: peer, call_id: id, reason: "busy" });
      this.dispatchEvent(new CustomEvent("waiting", { detail: Object.assign(newCall(peer, true), { name: name || "" }) }));
      return;
    }
    this.call = Object.assign(newCall(peer, true), { id, name: name || "", offer: sdp });
    this.#changed();
  }

  async #answered(call, { sdp, type }) {
    try {
      const answer = call.holding ? sdp?.replace(/^a=(recvonly|inactive)/m, "a=sendrecv") : sdp;
      await call.connection.setRemoteDescription(type === "rollback" ? { type } : { type: "answer", sdp: answer });
      this.#flushRemote(call);
      if (!call.id) this.#talk(call);
    } catch (error) {
      this.#failed(call, error);
    }
  }

  /** The far end changes the session: hold, another codec, another device. */
  async #updated(call, offer) {
    const answer = (description) => this.#tell("answer", call, "to_peer_id", description);
    call.heldByPeer = /^a=(sendonly|inactive)\r?$/m.test(offer);
    this.#changed();
    try {
      await call.connection.setRemoteDescription({ type: "offer", sdp: offer });
      await call.connection.setLocalDescription(await call.connection.createAnswer());
      const { sdp, type } = call.connection.localDescription;
      answer({ sdp, type });
    } catch {
      if (call.connection?.signalingState === "have-remote-offer") {
        await call.connection.setRemoteDescription({ type: "rollback" }).catch(() => {});
      }
      answer({ type: "rollback" });
    }
  }

  #stateChanged(call, { state, cause, reason }) {
    if (state === "ringing" && call.state === "calling") {
      call.state = "ringing";
      this.#changed();
    } else if (state === "answered") {
      this.#talk(call);
    } else if (state === "ended") {
      this.#finish(call, call.state === "incoming" && cause === "cancelled" ? "missed" : cause, { reason });
    }
  }

  #talk(call) {
    if (call.state === "talking" || call.over) return;
    call.state = "talking";
    call.answeredAt = Date.now();
    this.#changed();
  }

  #failed(call, error) {
    if (!error.code && call.id && !this.#rpc.isOpen) return; // cut in the middle: `reattach` takes it up
    if (call.over || error instanceof CallOver) return;
    if (error instanceof MicrophoneError) {
      if (call.state === "incoming") this.dispatchEvent(new CustomEvent("trouble", { detail: error }));
      else this.#finish(call, "microphone", { reason: error.message });
      return;
    }
    if (call.id || call.incoming) this.#tell("disconnect", call, "peer_id");
    this.#finish(call, error.data?.cause ?? "error", { reason: error.data?.reason });
  }

  #finish(call, cause, { reason, byUs = false } = {}) {
    if (call.over) return;
    call.over = true;
    this.call = null;
    clearTimeout(call.awayTimer);
    call.connection?.close();
    if (call.stream) stop(call.stream);
    this.#audio.srcObject = null;
    this.dispatchEvent(new CustomEvent("end", { detail: { call, cause, reason, byUs } }));
    this.#changed();
  }

  #tell(method, call, name, extra) {
    this.#rpc.notify(method, { ...addressed(call, name), ...extra });
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

class CallOver extends Error {}

function newCall(peer, incoming) {
  return {
    peer,
    name: "",
    incoming,
    state: incoming ? "incoming" : "calling",
    startedAt: Date.now(),
    answeredAt: 0,
    muted: false,
    held: false,
    heldByPeer: false,
    away: false,
    seq: 0,
    over: false,
    localCandidates: [],
    remoteCandidates: [],
  };
}

/** The parameters that say which call is meant. */
function addressed(call, name) {
  return call.id ? { [name]: call.peer, call_id: call.id } : { [name]: call.peer };
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
