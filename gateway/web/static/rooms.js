// A mesh of connections in one room: one RTCPeerConnection for every other peer.

import { $ } from "./dom.js";
import { boundPictures, replaceTrack } from "./picture-bounds.js";
import { Session } from "./session.js";

/** @type {Map<string, Link>} */
const links = new Map();
/** @type {WebSocket | null} */
let socket = null;
/** @type {MediaStream | null} */
let stream = null;
/** @type {RTCIceServer[]} */
let iceServers = [];
/** @type {MediaStreamTrack | null} */
let screenTrack = null;
const field = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

const say = (text) => ($("status").textContent = text);
const send = (message) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));

class Link {
  #queue = [];

  constructor(peer) {
    this.peer = peer;
    this.connection = new RTCPeerConnection({ iceServers });
    boundPictures(this.connection);
    this.item = document.createElement("li");
    this.video = Object.assign(document.createElement("video"), { autoplay: true, playsInline: true });
    this.name = Object.assign(document.createElement("b"), { textContent: peer });
    this.state = Object.assign(document.createElement("span"), { textContent: "connecting" });
    this.item.append(this.video, this.name, this.state);
    $("peers").append(this.item);
    for (const track of stream?.getTracks() ?? []) {
      this.connection.addTrack(track.kind === "video" && screenTrack ? screenTrack : track, /** @type {MediaStream} */ (stream));
    }
    this.connection.addEventListener("track", ({ streams }) => (this.video.srcObject = streams[0]));
    this.connection.addEventListener("icecandidate", ({ candidate }) => {
      if (candidate) send({ type: "ice_candidate", candidate: candidate.toJSON(), target_peer_id: peer });
    });
    this.connection.addEventListener("connectionstatechange", () => {
      this.state.textContent = this.connection.connectionState;
    });
  }

  async offer() {
    await this.connection.setLocalDescription();
    send({ type: "offer", offer: this.connection.localDescription, target_peer_id: this.peer });
  }

  async answer(offer) {
    await this.#accept(offer);
    await this.connection.setLocalDescription();
    send({ type: "answer", answer: this.connection.localDescription, target_peer_id: this.peer });
  }

  answered(answer) {
    return this.#accept(answer);
  }

  /** Candidates may come before the description they belong to. */
  async candidate(candidate) {
    if (!this.connection.remoteDescription) this.#queue.push(candidate);
    else await this.connection.addIceCandidate(candidate).catch(() => {});
  }

  async #accept(description) {
    await this.connection.setRemoteDescription(description);
    for (const candidate of this.#queue.splice(0)) await this.candidate(candidate);
  }

  close() {
    this.connection.close();
    this.item.remove();
  }
}

function link(peer) {
  const known = links.get(peer) ?? new Link(peer);
  links.set(peer, known);
  return known;
}

function drop(peer) {
  links.get(peer)?.close();
  links.delete(peer);
}

const handlers = {
  // The newcomer calls everybody who is there; they wait for its offer.
  existing_peers: ({ peers }) => Promise.all(peers.map((peer) => link(peer).offer())),
  peer_joined: ({ peer_id: peer }) => say(`${peer} has joined.`),
  peer_left: ({ peer_id: peer }) => {
    drop(peer);
    say(`${peer} has left.`);
  },
  offer: ({ offer, from_peer_id: peer }) => link(peer).answer(offer),
  answer: ({ answer, from_peer_id: peer }) => links.get(peer)?.answered(answer),
  ice_candidate: ({ candidate, from_peer_id: peer }) => link(peer).candidate(candidate),
  error: ({ message }) => say(message),
};

// What others see and hear of us.

function show(button, pressed, text) {
  $(button).setAttribute("aria-pressed", String(pressed));
  $(button).textContent = text;
}

function toggle(kind, button, [on, off]) {
  const tracks = (stream?.getTracks() ?? []).filter((track) => track.kind === kind);
  const live = tracks.some((track) => track.enabled);
  for (const track of tracks) track.enabled = !live;
  show(button, live, live ? on : off);
}

/** Put another picture on every connection; `track` null goes back to the camera. */
async function picture(track) {
  const sent = track ?? stream?.getVideoTracks()[0] ?? null;
  for (const { connection } of links.values()) {
    const sender = connection.getSenders().find((one) => one.track?.kind === "video");
    if (sender) await replaceTrack(sender, sent);
  }
  $("self").srcObject = sent ? new MediaStream([sent]) : null;
  $("self").classList.toggle("screen", Boolean(track));
  show("screen", Boolean(track), track ? "Stop sharing" : "Share the screen");
  screenTrack = track;
}

async function share() {
  if (screenTrack) {
    screenTrack.stop();
    await picture(null);
    return;
  }
  try {
    const [track] = (await navigator.mediaDevices.getDisplayMedia({ video: true })).getVideoTracks();
    track.addEventListener("ended", () => picture(null));
    await picture(track);
  } catch (error) {
    say(`The screen is not shared: ${/** @type {Error} */ (error).message}.`);
  }
}

async function join() {
  const room = encodeURIComponent(field("room").value.trim());
  const peer = encodeURIComponent(field("peer").value.trim());
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: field("camera").checked });
  } catch (error) {
    say(`No microphone or camera: ${/** @type {Error} */ (error).message}.`);
    return;
  }
  const url = new URL(`signaling/${room}/${peer}`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  // Where rooms are for people with an account, the sign-in of the softphone page opens them.
  const token = await new Session(new URL("..", location.href)).token().catch(() => null);
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  iceServers = await fetch("../iceservers", { headers }).then((response) => response.json()).catch(() => []);
  const opened = (socket = new WebSocket(url, token ? ["bearer", token] : []));
  opened.addEventListener("open", () => say("You are in. Others can join with the same room."));
  opened.addEventListener("message", async ({ data }) => {
    const message = JSON.parse(data);
    try {
      await handlers[message.type]?.(message);
    } catch (error) {
      say(`${message.from_peer_id ?? "A peer"}: ${/** @type {Error} */ (error).message}`);
    }
  });
  opened.addEventListener("close", ({ reason }) => left(reason || "You have left the room."));
  $("enter").hidden = true;
  $("leave").hidden = $("mine").hidden = false;
  const camera = stream.getVideoTracks().length > 0;
  $("self").hidden = $("camera-off").hidden = $("screen").hidden = !camera;
  $("self").srcObject = camera ? stream : null;
  show("mute", false, "Mute");
  show("camera-off", false, "Camera off");
}

function left(message) {
  for (const peer of [...links.keys()]) drop(peer);
  for (const track of stream?.getTracks() ?? []) track.stop();
  socket = stream = null;
  $("enter").hidden = false;
  $("leave").hidden = $("mine").hidden = true;
  screenTrack?.stop();
  screenTrack = null;
  say(message);
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!socket) join();
});
$("mute").addEventListener("click", () => toggle("audio", "mute", ["Unmute", "Mute"]));
$("camera-off").addEventListener("click", () => toggle("video", "camera-off", ["Camera on", "Camera off"]));
$("screen").addEventListener("click", share);
$("leave").addEventListener("click", () => socket?.close());
$("peer").value = `peer-${crypto.getRandomValues(new Uint16Array(1))[0].toString(36)}`;
