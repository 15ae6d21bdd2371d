// The page: log in, dial, ring, talk. Signalling and media are gateway-client.js, looks are ui.js, words are words.js.

import { showAccount } from "./account-view.js";
import * as alerts from "./alerts.js";
import { Contacts } from "./contacts.js";
import { showContacts } from "./contacts-view.js";
import { Devices, Level } from "./devices.js";
import { $ } from "./dom.js";
import { CameraError, GatewayClient, MicrophoneError, TextError } from "./gateway-client.js";
import { History } from "./history.js";
import { callsElsewhere, foremost, otherCalls, showRows, stateOf } from "./lines.js";
import { kept, Login } from "./login.js";
import { showOwn } from "./own.js";
import * as push from "./push.js";
import { watchQuality } from "./quality.js";
import { showRooms } from "./room-view.js";
import { showSound } from "./sound-view.js";
import { Sounds } from "./sounds.js";
import { showText, wantsText } from "./text-view.js";
import { openTransfer, showTransferring } from "./transfer-view.js";
import * as ui from "./ui.js";
import { showVideo } from "./video-view.js";
import { showVoicemail } from "./voicemail-view.js";
import { cameraSentence, choose, dialled, isHarmless, language, microphoneSentence, nameOf, say, sentenceFor, translate, troubleOf } from "./words.js";

const LEFT = "softphone.calls"; // the calls a reload takes up again
const REFUSED_MS = 4_000; // so long it is said why there is no picture or no merging, or who else calls, while the call goes on

const client = new GatewayClient(undefined, { raw: /[#&]raw=1/.test(location.hash) });
const sounds = new Sounds();
const calls = new History();
const contacts = new Contacts(client);
const devices = new Devices($("remote"));
const voice = new Level();
const showMailbox = showVoicemail(client, (peer) => dial(peer));

/** @type {import("./gateway-client.js").Call | null} */
let front = null; // the call that is shown large
let view = "login";

const login = new Login(client);
login.addEventListener("out", () => show("login"));
login.addEventListener("gesture", unlock);

client.addEventListener("connection", ({ detail: state }) => {
  ui.showConnection(state);
  if (state === "online") signedIn();
  else if (state === "connecting" && client.user && !client.calls.length) ui.tell(say("state.retrying"), "bad");
});

function signedIn() {
  if (!client.user) return;
  const { name, guest } = client.user;
  ui.showUser(name);
  $("contacts").hidden = guest;
  calls.open(name, guest);
  ui.showRecent(calls.entries(), dial);
  if (!guest) client.request("call.rights").then(allow, () => {});
  unlock();
  push.wake(client);
  if (view === "login") show("idle");
  if (!client.calls.length) ui.tell(say("state.ready"));
}

function allow(rights) {
  ui.showRights(rights);
  showMailbox(rights.voicemail);
}

/** Sound and notifications, as far as the browser lets us; the button says what is missing. */
async function unlock() {
  const ready = await sounds.unlock();
  ui.showUnlock(login.entered && (!ready || alerts.notificationsWanted()));
}

sounds.onready = () => ui.showUnlock(login.entered && alerts.notificationsWanted());

for (const gesture of ["pointerdown", "keydown"]) {
  document.addEventListener(gesture, () => !sounds.ready && unlock(), { capture: true });
}
$("unlock").addEventListener("click", async () => {
  await alerts.askForNotifications();
  push.wake(client);
  await unlock();
});
$("clear").addEventListener("click", () => {
  calls.clear();
  ui.showRecent([], dial);
});

$("language").addEventListener("change", () => choose($("language").value));

// Calling.

function dial(peer, options = {}) {
  const target = dialled(peer);
  if (!target || front) return null;
  if (client.connection !== "online") {
    ui.tell(say("state.retrying"), "bad");
    return null;
  }
  ui.fields.dial.value = peer.trim();
  ui.showListen(null);
  return client.dial(target, { text: wantsText(), ...options });
}

function key(digit) {
  ui.pressKey(digit);
  sounds.key(digit);
  if (front) front.digit(digit);
  else ui.typeKey(digit);
}

$("dialler").addEventListener("submit", (event) => {
  event.preventDefault();
  dial(ui.fields.dial.value);
});
$("erase").addEventListener("click", () => {
  ui.fields.dial.value = ui.fields.dial.value.slice(0, -1);
  ui.focusOn("dial");
});
$("pad").addEventListener("click", ({ target }) => {
  const button = target instanceof Element && target.closest("[data-key]");
  const digit = button && button.getAttribute("data-key");
  if (digit) key(digit);
});
for (const button of document.querySelectorAll("[data-number]")) {
  button.addEventListener("click", () => dial(button.getAttribute("data-number")));
}
$("accept").addEventListener("click", () => front?.accept());
$("decline").addEventListener("click", () => front?.hangUp());
$("hangup").addEventListener("click", () => front?.hangUp());
$("mute").addEventListener("click", () => front?.toggleMute());
$("hold").addEventListener("click", () => front?.setHeld(!front.held));
$("record").addEventListener("click", () => front?.record(!front.recording));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || view === "login" || document.fullscreenElement) return;
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "range";
  // Enter dials, then the focus is on Hang up: a key held a little too long must not press that.
  if (event.key === "Enter" && event.repeat) event.preventDefault();
  if (event.key === "Escape") {
    if (event.target === ui.fields.target) openTransfer(false);
    else if (front) front.hangUp();
    else ui.fields.dial.value = "";
  } else if (/^[0-9*#]$/.test(event.key) && !typing && !event.repeat) {
    event.preventDefault();
    key(event.key);
    if (!front) ui.focusOn("dial");
  } else if (event.key.toLowerCase() === "m" && !typing && front?.state === "talking" && !event.repeat) {
    front.toggleMute();
  }
});

// Showing what happens.

function show(next) {
  if (next === view) return;
  view = next;
  ui.showView(view);
  // Somebody who types must not take a call with the next key: a call that comes in leaves the focus where it is.
  if (view !== "incoming") ui.focusOn({ login: "user", idle: "dial", call: "hangup" }[view]);
}

function describe(call) {
  const name = nameOf(call);
  return call.state === "talking" || call.away ? say(`state.${stateOf(call)}`) : say(`state.${call.state}`, { name });
}

async function merge(both) {
  try {
    await client.merge(both, say("rooms.merged"));
  } catch (error) {
    ui.tell(troubleOf(error), "bad", REFUSED_MS);
  }
}

function ring(call) {
  sounds.silence();
  alerts.dismiss();
  if (call?.state === "incoming") {
    sounds.ringtone();
    if (!document.hasFocus()) alerts.notifyCall(nameOf(call));
  } else if (call?.state === "ringing" && !call.heard) sounds.ringback();
}

function hear(call) {
  const stream = call?.remote ?? null;
  if ($("remote").srcObject === stream) return;
  $("remote").srcObject = stream;
  if (stream) $("remote").play().catch(() => {});
}

let rung = "";
client.addEventListener("calls", () => {
  const former = front;
  front = foremost(client.calls, front);
  ui.showCall(front);
  hear(front);
  const ringing = front ? `${front.state} ${front.heard}` : "";
  if (front !== former || ringing !== rung) ring(front);
  rung = ringing;
  showRows($("lines"), otherCalls(client, front, merge));
  if (front !== former) changedFront();
  if (front?.state === "talking") ui.showTime(Date.now() - front.answeredAt);
  voice.follow(front?.state === "talking" ? front.local : null);
  if (!front) {
    if (login.entered) show("idle");
    return;
  }
  show(front.state === "incoming" ? "incoming" : "call");
  ui.tell(describe(front));
});

function changedFront() {
  ui.showTransfer(false);
  ui.showQuality(null);
}

contacts.addEventListener("message", ({ detail }) => {
  ui.tell(say("notice.message", detail));
  sounds.message();
  if (!document.hasFocus()) alerts.notify(say("notice.message", detail), "message");
});

client.addEventListener("elsewhere", () => showRows($("devices"), callsElsewhere(client)));

client.addEventListener("incoming", ({ detail: call }) => {
  if (call === front) return;
  sounds.waiting();
  ui.tell(say("state.waiting", { name: nameOf(call) }), "", REFUSED_MS);
  if (!document.hasFocus()) alerts.notifyCall(nameOf(call));
});

client.addEventListener("end", ({ detail: { call, before, cause, reason, byUs } }) => {
  if (call === front) sounds.silence();
  if (!byUs) sounds.ended();
  calls.add(call, outcome(call, cause));
  ui.showRecent(calls.entries(), dial);
  if (cause === "microphone" && !call.incoming) ui.showListen(() => dial(call.peer, { listenOnly: true }));
  if (call.answeredAt || isHarmless(cause)) ui.fields.dial.value = "";
  if (byUs && cause === "declined") ui.tell(say("state.declined"));
  else ui.tell(sentence(before, cause, reason), isHarmless(cause) ? "" : "bad");
});

function sentence(before, cause, reason) {
  return cause === "elsewhere" && before === "talking" ? say("cause.moved") : sentenceFor(cause, reason);
}

function outcome(call, cause) {
  if (cause === "elsewhere" && !call.answeredAt) return "elsewhere";
  return call.incoming && !call.answeredAt && cause !== "declined" ? "missed" : "taken";
}

client.addEventListener("trouble", ({ detail: { call, error } }) => {
  if (error instanceof TextError) ui.tell(say("text.refused"), "bad", REFUSED_MS);
  else if (error instanceof CameraError) ui.tell(cameraSentence(error.name), "bad", REFUSED_MS);
  else if (error instanceof MicrophoneError) ui.tell(microphoneSentence(error.name), "bad");
  else ui.tell(troubleOf(error), "bad");
  if (call.state === "incoming" && error instanceof MicrophoneError) ui.showListen(() => call.accept({ listenOnly: true }));
});

watchQuality(() => front, ui.showQuality);

setInterval(() => front?.state === "talking" && ui.showTime(Date.now() - front.answeredAt), 250);

// It may be a reload: the gateway waits a moment, and the next page takes the calls up.
addEventListener("pagehide", () => {
  if (!client.calls.length) return;
  const saved = client.suspend();
  if (saved.length) sessionStorage.setItem(LEFT, JSON.stringify(saved));
});

translate();
showContacts(contacts, dial);
showOwn(client, ui.tell);
showAccount(client, ui.tell);
voice.addEventListener("level", ({ detail }) => ui.showVoice(detail));
$("language").value = language;
ui.showKeys();
ui.showRecent([], dial);
ui.showConnection("offline");
ui.showCall(null);
ui.tell(say("login.prompt"));
showSound(client, devices);
const namePictures = showVideo(client, () => front, dial);
showText(client, () => front);
showRooms(client, () => front, dial, namePictures);
showTransferring(client, () => front);
client.restore(kept(LEFT) ?? []);
sessionStorage.removeItem(LEFT);
login.enter();
