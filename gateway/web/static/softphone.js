// The page: log in, dial, ring, talk. Signalling is rpc.js, media is phone.js, looks are ui.js.

import * as alerts from "./alerts.js";
import { Devices } from "./devices.js";
import { History } from "./history.js";
import { Phone } from "./phone.js";
import { RpcSocket } from "./rpc.js";
import { Session, SignInError } from "./session.js";
import { Sounds } from "./sounds.js";
import * as ui from "./ui.js";
import { isHarmless, MicrophoneError, sentenceFor, shortName } from "./words.js";

const LEFT = "softphone.call"; // the call a reload takes up again
const STORED = "softphone.name"; // who was here; never a password or a token
const $ = (id) => document.getElementById(id);

const endpoint = new URL("rpc", location.href);
endpoint.protocol = location.protocol === "https:" ? "wss:" : "ws:";
endpoint.hash = endpoint.search = "";

const rpc = new RpcSocket(endpoint.href);
const session = new Session();
const sounds = new Sounds();
const calls = new History();
const devices = new Devices($("remote"));
const phone = new Phone(rpc, $("remote"), { raw: /[#&]raw=1/.test(location.hash) });

let login = null;
let online = false;
let wasOnline = false; // this name is ours, perhaps on an earlier connection
let ticking = 0;
let view = "login";

// Logging in.

/** With a password sign in, as a guest go straight in; `signedIn` means the cookie of an earlier visit. */
async function start(user, { password = "", signedIn = false } = {}) {
  const mine = (login = { user, guest: !password && !signedIn });
  ui.showConnection("connecting");
  ui.say("Connecting…");
  try {
    if (password) await session.signIn(user, password);
    else if (signedIn) await session.resume();
  } catch (error) {
    if (login === mine) notSignedIn(error, signedIn);
    return;
  }
  if (login === mine) rpc.open();
}

function notSignedIn(error, signedIn) {
  if (error instanceof SignInError && error.status === 401) {
    logOut(signedIn ? "Please log in again." : "Name or password is wrong.", signedIn ? "" : "bad");
    ui.focusOn(signedIn ? "user" : "password");
  } else if (error instanceof SignInError) {
    logOut(`${error.message}.`, "bad");
  } else {
    logOut("No connection to the gateway. Try again.", "bad");
  }
}

function logOut(message = "Log in to make and take calls.", tone = "") {
  leave();
  if (login && !login.guest) session.signOut();
  login = null;
  online = wasOnline = false;
  sessionStorage.removeItem(STORED);
  rpc.close();
  ui.showUser("");
  ui.showUnlock(false);
  ui.showListen(null);
  ui.showConnection("offline");
  show("login");
  ui.say(message, tone);
}

async function announce() {
  const { user, guest } = login;
  let name = user;
  let token = "";
  try {
    if (!guest) token = await session.token();
    ({ peer_id: name } = await rpc.request("announce", { peer_id: user, capabilities: { audio: true, video: false, data: false }, ...(token && { token }) }));
  } catch (error) {
    refused(error, guest);
    return;
  }
  online = wasOnline = true;
  rpc.settled();
  sessionStorage.setItem(STORED, JSON.stringify({ user: name, signedIn: !guest }));
  ui.fields.password.value = "";
  ui.showUser(name);
  calls.open(name, guest);
  ui.showRecent(calls.entries(), dial);
  unlock();
  ui.showConnection("online");
  if (view === "login") show("idle");
  if (phone.call) phone.reattach();
  else if (!takeUp()) ui.say("Ready.");
}

/** The call this page was in when it was reloaded. */
function takeUp() {
  const saved = JSON.parse(sessionStorage.getItem(LEFT) ?? "null");
  sessionStorage.removeItem(LEFT);
  if (saved) phone.restore(saved);
  return Boolean(saved);
}

function refused(error, guest) {
  if (!login) return;
  if (error instanceof SignInError && error.status === 401) {
    notSignedIn(error, true);
    return;
  }
  if (!error.code) {
    // No response at all: the connection is not what it seems.
    rpc.retry();
    return;
  }
  const taken = /already announced/i.test(error.message);
  if (taken && wasOnline) {
    // Our own earlier connection has not been missed yet.
    rpc.retry();
    return;
  }
  const asked = /authentication/i.test(error.message);
  const wrong = guest ? "This name needs a password." : "Please log in again.";
  logOut(asked ? wrong : taken ? "Somebody uses this name already." : `${error.message}.`, "bad");
  ui.focusOn(asked ? "password" : "user");
}

rpc.addEventListener("open", announce);
rpc.addEventListener("close", () => {
  if (!login) return;
  online = false;
  ui.showConnection("connecting");
  if (!phone.call) ui.say("No connection to the gateway. Trying again…", "bad");
});

/** Sound and notifications, as far as the browser lets us; the button says what is missing. */
async function unlock() {
  const ready = await sounds.unlock();
  ui.showUnlock(Boolean(login) && (!ready || alerts.notificationsWanted()));
}

sounds.onready = () => ui.showUnlock(Boolean(login) && alerts.notificationsWanted());

for (const gesture of ["pointerdown", "keydown"]) {
  document.addEventListener(gesture, () => !sounds.ready && unlock(), { capture: true });
}
$("unlock").addEventListener("click", async () => {
  await alerts.askForNotifications();
  await unlock();
});
$("clear").addEventListener("click", () => {
  calls.clear();
  ui.showRecent([], dial);
});

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  alerts.askForNotifications().then(unlock);
  const user = ui.fields.user.value.trim();
  if (user) start(user, { password: ui.fields.password.value });
  else {
    ui.say("Your name, please.", "bad");
    ui.focusOn("user");
  }
});
$("guest").addEventListener("click", () => {
  start(`guest-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`);
});
$("logout").addEventListener("click", () => logOut());

// Calling.

function dial(peer, options = {}) {
  // People write +49 (30) 12-34; a name or an address stays as it is.
  const number = peer.trim();
  const target = /^[-+()\d\s./*#]+$/.test(number) ? number.replace(/[-()\s./]/g, "") : number.replace(/\s+/g, "");
  if (!target || phone.call) return;
  if (!online) {
    ui.say("No connection to the gateway. Trying again…", "bad");
    return;
  }
  ui.fields.dial.value = number;
  ui.showListen(null);
  phone.dial(target, options);
}

function key(digit) {
  ui.pressKey(digit);
  sounds.key(digit);
  if (phone.call) phone.digit(digit);
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
  const digit = target.closest("[data-key]")?.dataset.key;
  if (digit) key(digit);
});
for (const button of document.querySelectorAll("[data-number]")) {
  button.addEventListener("click", () => dial(button.dataset.number));
}
$("accept").addEventListener("click", () => phone.accept());
$("decline").addEventListener("click", () => phone.hangUp());
$("hangup").addEventListener("click", () => phone.hangUp());
$("mute").addEventListener("click", () => phone.toggleMute());
$("hold").addEventListener("click", () => phone.toggleHold());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || view === "login") return;
  const typing = event.target === ui.fields.dial;
  // Enter dials, then the focus is on Hang up: a key held a little too long must not press that.
  if (event.key === "Enter" && event.repeat) event.preventDefault();
  if (event.key === "Escape") {
    if (phone.call) phone.hangUp();
    else ui.fields.dial.value = "";
  } else if (/^[0-9*#]$/.test(event.key) && !typing && !event.repeat) {
    event.preventDefault();
    key(event.key);
    if (!phone.call) ui.focusOn("dial");
  } else if (event.key.toLowerCase() === "m" && phone.call?.state === "talking" && !event.repeat) {
    phone.toggleMute();
  }
});

// Microphone and speaker.

async function showDevices() {
  const { chosen } = devices;
  phone.microphone = chosen.microphone;
  ui.showChoices("microphone", await devices.list("audioinput"), chosen.microphone);
  ui.showChoices("speaker", await devices.list("audiooutput"), chosen.speaker);
}

for (const kind of ["microphone", "speaker"]) {
  $(kind).addEventListener("change", ({ target }) => {
    devices.choose(kind, target.value);
    showDevices();
  });
}
$("test").addEventListener("click", async () => {
  try {
    if (devices.testing) devices.stop();
    else await devices.test();
  } catch (error) {
    ui.say(new MicrophoneError(error.name).message, "bad");
  }
  ui.showTest(devices.testing);
});
devices.addEventListener("level", ({ detail }) => ui.showLevel(detail));
devices.addEventListener("change", showDevices);
showDevices();

// Showing what happens.

function show(next) {
  if (next === view) return;
  view = next;
  ui.showView(view);
  // Somebody who types must not take a call with the next key: a call that comes in leaves the focus where it is.
  if (view !== "incoming") ui.focusOn({ login: "user", idle: "dial", call: "hangup" }[view]);
}

function describe(call) {
  const name = call.name || shortName(call.peer);
  switch (call.state) {
    case "incoming":
      return `${name} is calling.`;
    case "calling":
      return `Calling ${name}…`;
    case "ringing":
      return `Ringing ${name}…`;
    default:
      return talking(call);
  }
}

/** Connected is said when sound can flow, and not before. */
function talking(call) {
  if (call.away) return "Reconnecting…";
  if (call.held) return "On hold.";
  if (call.heldByPeer) return "The other side has put you on hold.";
  const media = Phone.media(call);
  if (media === "broken") return "Reconnecting the audio…";
  if (media !== "connected") return "Connecting the audio…";
  return call.muted ? "Connected, your microphone is muted." : "Connected.";
}

function ring(call) {
  sounds.silence();
  alerts.dismiss();
  if (call?.state === "incoming") {
    sounds.ringtone();
    if (!document.hasFocus()) alerts.notifyCall(call.name || shortName(call.peer));
  }
  else if (call?.state === "ringing" && call.remoteTrack?.muted !== false) sounds.ringback();
}

let rung = "";
phone.addEventListener("change", () => {
  const { call } = phone;
  ui.showCall(call);
  const ringing = call ? `${call.state} ${call.remoteTrack?.muted}` : "";
  if (ringing !== rung) ring(call);
  rung = ringing;
  clearInterval(ticking);
  if (!call) {
    if (login) show("idle");
    return;
  }
  show(call.state === "incoming" ? "incoming" : "call");
  ui.say(describe(call));
  if (call.state === "talking") {
    const tick = () => ui.showTime(Date.now() - call.answeredAt);
    tick();
    ticking = setInterval(tick, 250);
  }
});

phone.addEventListener("end", ({ detail: { call, cause, reason, byUs } }) => {
  sounds.silence();
  if (!byUs) sounds.ended();
  calls.add(call, outcome(call, cause));
  ui.showRecent(calls.entries(), dial);
  if (cause === "microphone") ui.showListen(() => dial(call.peer, { listenOnly: true }));
  if (call.answeredAt || isHarmless(cause)) ui.fields.dial.value = "";
  if (byUs && cause === "declined") ui.say("You declined the call.");
  else ui.say(sentenceFor(cause, reason), isHarmless(cause) ? "" : "bad");
});

function outcome(call, cause) {
  if (cause === "elsewhere") return "elsewhere";
  return call.incoming && !call.answeredAt && cause !== "declined" ? "missed" : "taken";
}

// Somebody called while we talk: a sound, a line, and a row to call back.
phone.addEventListener("waiting", ({ detail: call }) => {
  sounds.waiting();
  calls.add(call, "missed");
  ui.showRecent(calls.entries(), dial);
  ui.say(`${call.name || shortName(call.peer)} has called meanwhile.`);
});

phone.addEventListener("trouble", ({ detail }) => {
  ui.say(detail.message, "bad");
  if (phone.call?.state === "incoming") ui.showListen(() => phone.accept({ listenOnly: true }));
});

// A page that goes has not declined: the person's other devices ring on.
const leave = () => phone.hangUp(phone.call?.state === "incoming" ? "unavailable" : undefined);

// It may be a reload: the gateway waits a moment, and the next page takes the call up.
addEventListener("pagehide", () => {
  if (!phone.call) return;
  const saved = phone.saved();
  if (saved) sessionStorage.setItem(LEFT, JSON.stringify(saved));
  rpc.notify("call.leave");
});

// Whoever comes with a name in the address is logged in at once; the address bar forgets it.

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED));
  } catch {
    return null;
  }
}

function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return given.get("user") ? { user: given.get("user"), password: given.get("token") ?? "" } : null;
}

addEventListener("hashchange", () => {
  const given = fromAddress();
  if (!given) return;
  if (login) logOut();
  start(given.user, given);
});

ui.showConnection("offline");
ui.showCall(null);
const given = fromAddress();
const known = given ?? stored();
wasOnline = Boolean(known && !given);
if (known?.user) start(known.user, known);
else ui.focusOn("user");
