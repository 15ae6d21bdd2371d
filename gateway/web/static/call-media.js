// The media of one call: microphone, camera, the RTCPeerConnection and its candidates. Made by Call.

import { CallText } from "./call-text.js";
import { Emitter } from "./events.js";
import { certificates, hasVideo, pictured, picturing, unpicturing } from "./media-sdp.js";
import { boundPictures, replaceTrack } from "./picture-bounds.js";

/** A microphone or camera that cannot be had; `name` is getUserMedia's, or "InsecureContext" where pages get none at all. */
class DeviceError extends Error {
  /** @param {string} name */
  constructor(name) {
    super(name);
    this.name = name;
  }
}

export class MicrophoneError extends DeviceError {}

export class CameraError extends DeviceError {}

/** The call ended while its media was still being opened. */
export class CallOver extends Error {}

/**
 * What is asked of the client.
 * @typedef {object} Devices
 * @property {() => Promise<RTCIceServer[]>} iceServers
 * @property {() => MediaTrackConstraints} microphone
 * @property {() => MediaTrackConstraints} camera
 */

/** @typedef {{candidate: string, sdp_mid: string | null, sdp_mline_index: number | null}} Candidate as the gateway has it */

/** Events: "change"; "state" when the browser says something else of the connection; "candidate" with detail Candidate. */
export class CallMedia extends Emitter {
  /** @type {RTCPeerConnection | null} */
  connection = null;
  /** @type {MediaStream | null} the microphone's */
  microphone = null;
  /** @type {MediaStream | null} the camera's, while it is on */
  camera = null;
  /** @type {MediaStream | null} the other side's sound */
  sound = null;
  /** What both sides type. */
  text = new CallText();
  /** @type {Map<string, MediaStream>} what the other side shows, by the mid of the section */
  #pictures = new Map();
  #isShown = false; // whether it shows anything, by its latest description
  #offered = ""; // its latest offer

  #devices;
  #isOver = false;
  /** @type {Candidate[] | null} ours, until the other side can use them */
  #kept = [];
  /** @type {Candidate[]} theirs, until we can */
  #early = [];

  /** @param {Devices} devices */
  constructor(devices) {
    super();
    this.#devices = devices;
  }

  /** "none" before there is a connection, then "connecting", "connected", "broken". */
  get state() {
    const state = this.connection?.connectionState ?? "none";
    /** @type {Record<string, string>} */
    const words = { new: "connecting", disconnected: "broken", failed: "broken", closed: "none" };
    return words[state] ?? state;
  }

  /** What the other side shows now, the first in its own section; a room shows several. @returns {{mid: string, stream: MediaStream}[]} */
  get pictures() {
    const shown = [...(this.#isShown ? this.#pictures : [])].map(([mid, stream]) => ({ mid, stream }));
    return shown.filter(({ stream }) => stream.getVideoTracks()[0]?.muted === false);
  }

  /** Whether the two have agreed on video. */
  get hasVideo() {
    return Boolean(this.#video?.currentDirection);
  }

  /** The connection that `connect` has made. */
  get #made() {
    if (!this.connection) throw new CallOver();
    return this.connection;
  }

  /** What we have said last. */
  get #described() {
    return this.text.stating(this.#made.localDescription?.sdp ?? "");
  }

  get #video() {
    return this.connection?.getTransceivers().find(({ receiver, currentDirection, direction }) => {
      return receiver.track.kind === "video" && direction !== "stopped" && currentDirection !== "stopped";
    });
  }

  /** Rejects with MicrophoneError or CallOver. */
  async openMicrophone() {
    this.microphone = await this.#open({ audio: this.#devices.microphone() }, MicrophoneError);
  }

  /** Rejects with CameraError or CallOver. */
  async openCamera() {
    this.camera ??= await this.#open({ video: this.#devices.camera() }, CameraError);
    this.#changed();
  }

  closeCamera() {
    stop(this.camera);
    this.camera = null;
    this.#changed();
  }

  /** @param {MediaStreamConstraints} constraints @param {typeof DeviceError} Failure */
  async #open(constraints, Failure) {
    if (!navigator.mediaDevices) throw new Failure("InsecureContext");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(constraints);
    } catch (error) {
      throw new Failure(/** @type {Error} */ (error).name);
    }
    if (this.#isOver) {
      stop(stream);
      throw new CallOver();
    }
    return stream;
  }

  /** Let what is said and shown out, or not. @param {{voice: boolean, picture: boolean}} open */
  let({ voice, picture }) {
    for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = voice;
    for (const track of this.camera?.getVideoTracks() ?? []) track.enabled = picture;
  }

  /**
   * Make the connection with the microphone and camera that are open.
   * @param {{offer?: string, video?: boolean, text?: boolean}} how `offer` is the other side's; `video`: it may show us
   *   something; `text`: it is asked for text
   */
  async connect({ offer, video = false, text = false } = {}) {
    const connection = new RTCPeerConnection({ iceServers: await this.#devices.iceServers() });
    if (this.#isOver) {
      connection.close();
      throw new CallOver();
    }
    this.connection = connection;
    this.#pictures.clear();
    connection.addEventListener("icecandidate", ({ candidate }) => this.#found(candidate));
    this.text.listen(connection);
    boundPictures(connection);
    connection.addEventListener("track", ({ track, transceiver }) => this.#take(track, transceiver.mid ?? ""));
    connection.addEventListener("connectionstatechange", () => this.connection === connection && this.dispatchEvent(new Event("state")));
    if (offer) await this.#takeOffer(offer);
    if (!this.microphone && !offer) connection.addTransceiver("audio", { direction: "recvonly" });
    const tracks = [...(this.microphone?.getTracks() ?? []), ...(this.camera?.getTracks() ?? [])];
    const stream = /** @type {MediaStream} */ (this.microphone ?? this.camera); // of one of which each track is
    for (const track of tracks) connection.addTrack(track, stream);
    if (!this.camera && !offer && video) connection.addTransceiver("video", { direction: "recvonly" });
    if (text && !offer) this.text.ask(connection);
    if (offer) this.#flushEarly();
  }

  /** Have the connection show what the camera sees, or nothing more; an offer tells the other side. */
  async showCamera() {
    const track = this.camera?.getVideoTracks()[0] ?? null;
    const video = this.#video;
    if (!this.connection) return;
    if (!video && track && this.camera) this.connection.addTransceiver(track, { direction: "sendrecv", streams: [this.camera] });
    if (!video) return;
    await replaceTrack(video.sender, track);
    video.direction = track ? "sendrecv" : "recvonly";
  }

  /** Have neither camera nor picture of ours any more; the next offer says so. */
  async dropCamera() {
    this.closeCamera();
    await this.showCamera();
  }

  /** A new offer, which stands from now on. @param {RTCOfferOptions} [options] @returns {Promise<string>} */
  async offer(options) {
    await this.#made.setLocalDescription(await this.#made.createOffer(options));
    return this.#described;
  }

  /** The answer to an offer of the other side. @param {string} [offer] where `connect` did not get it @returns {Promise<string>} */
  async answer(offer) {
    if (offer && this.isOfAnother(offer)) await this.#connectAnew(offer);
    else if (offer) await this.#takeOffer(offer);
    await this.#made.setLocalDescription(await this.#made.createAnswer());
    return unpicturing(this.#described, this.#offered);
  }

  /** Whether an offer comes from another end than our connection leads to. @param {string} offer */
  isOfAnother(offer) {
    const known = this.connection?.remoteDescription?.sdp;
    return known !== undefined && certificates(offer) !== certificates(known);
  }

  /** Not every browser takes another certificate of the other end in a connection that it has: both ends begin anew. @param {string} offer */
  async #connectAnew(offer) {
    const { isKept } = this.text; // also one that the connection before this one did not live to open
    this.#made.close();
    this.#kept = [];
    await this.connect({ offer });
    if (isKept) this.text.move(this.#made);
  }

  /** @param {string} offer */
  async #takeOffer(offer) {
    await this.#made.setRemoteDescription({ type: "offer", sdp: picturing(offer) });
    this.#offered = offer;
    this.#isShown = hasVideo(offer);
  }

  /** The answer to our offer. @param {string} sdp */
  async answered(sdp) {
    const offer = this.#described;
    await this.#made.setRemoteDescription({ type: "answer", sdp: pictured(sdp, offer) });
    this.#isShown = hasVideo(sdp);
    this.#flushEarly();
    this.#changed();
  }

  /** Our offer is not taken; the other side's may have come in its place. */
  async rollBack() {
    if (this.connection?.signalingState !== "have-local-offer") return;
    await this.connection.setLocalDescription({ type: "rollback" }).catch(() => {});
  }

  /** The other side's offer is not taken. */
  async refuse() {
    if (this.connection?.signalingState !== "have-remote-offer") return;
    await this.connection.setRemoteDescription({ type: "rollback" }).catch(() => {});
  }

  close() {
    this.#isOver = true;
    this.connection?.close();
    for (const each of [this.microphone, this.camera]) stop(each);
    this.sound = this.camera = null;
    this.#pictures.clear();
  }

  // ICE candidates, each held until the other side can use it.

  /** @param {RTCIceCandidate | null} candidate */
  #found(candidate) {
    const { sdpMid = null, sdpMLineIndex = null } = candidate ?? {};
    const line = { candidate: candidate?.candidate ?? "", sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex };
    if (this.#kept) this.#kept.push(line);
    else this.dispatchEvent(new CustomEvent("candidate", { detail: line }));
  }

  /** The other side has our description: ours can go out. */
  flushCandidates() {
    const lines = this.#kept ?? [];
    this.#kept = null;
    for (const line of lines) this.dispatchEvent(new CustomEvent("candidate", { detail: line }));
  }

  /** One of the other side's. @param {Candidate} given */
  candidate({ candidate, sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex }) {
    if (!this.connection?.remoteDescription) {
      this.#early.push({ candidate, sdp_mid: sdpMid, sdp_mline_index: sdpMLineIndex });
      return;
    }
    const known = sdpMid !== null || sdpMLineIndex !== null;
    const line = candidate || known ? { candidate, sdpMid, sdpMLineIndex } : null;
    // One unusable candidate (an unknown kind, a .local name) must not end the call.
    this.connection.addIceCandidate(line).catch(() => {});
  }

  #flushEarly() {
    for (const line of this.#early.splice(0)) this.candidate(line);
  }

  /** The other side's sound or picture. @param {MediaStreamTrack} track @param {string} mid */
  #take(track, mid) {
    const stream = new MediaStream([track]);
    if (track.kind === "video") this.#pictures.set(mid, stream);
    else this.sound = stream;
    // The first packet: whatever the far end plays replaces our own ringback.
    for (const event of ["unmute", "mute"]) track.addEventListener(event, () => this.#changed());
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {MediaStream | null} stream */
function stop(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
