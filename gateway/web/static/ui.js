// What the page shows. It is told, it never decides.

import { clockTime, shortName } from "./words.js";

const $ = (id) => document.getElementById(id);

export const fields = {
  user: $("user"),
  password: $("password"),
  dial: $("dial"),
};

/** "login", "idle", "incoming" or "call": which parts of the page there are. */
export function showView(view) {
  document.body.dataset.view = view;
}

/** The line that screen readers speak. `tone` "bad" is for what went wrong. */
export function say(text, tone = "") {
  const status = $("status");
  if (status.textContent !== text) status.textContent = text;
  status.dataset.tone = tone;
}

export function showConnection(state) {
  const words = { online: "Connected", connecting: "Connecting…", offline: "Offline" };
  $("connection").dataset.state = state;
  $("connection").textContent = words[state];
  $("call").disabled = state !== "online";
}

export function showUser(name) {
  $("me").textContent = name;
  $("me").hidden = $("logout").hidden = !name;
}

/** The call, or null: who, since when, muted or not. */
export function showCall(call) {
  const talking = call?.state === "talking";
  document.body.toggleAttribute("data-ringing", Boolean(call) && !talking);
  $("timer").hidden = !talking;
  $("mute").disabled = !talking;
  const muted = Boolean(call?.muted);
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute").querySelector("span").textContent = muted ? "Unmute" : "Mute";
  $("mute").querySelector("use").setAttribute("href", muted ? "#i-mic-off" : "#i-mic");
  $("hold").disabled = !talking || Boolean(call?.away);
  $("hold").setAttribute("aria-pressed", String(Boolean(call?.held)));
  $("hold").querySelector("span").textContent = call?.held ? "Resume" : "Hold";
  $("hangup").querySelector("span").textContent = talking ? "Hang up" : "Cancel";
  document.title = call?.state === "incoming" ? `☎ ${call.name || shortName(call.peer)}` : "Softphone";
  if (!call) return;
  const short = shortName(call.peer);
  const name = call.name || short;
  $("party").textContent = name;
  $("detail").textContent = name === call.peer ? "" : call.name && call.name !== short ? call.peer : call.peer === short ? "" : call.peer;
  $("avatar").textContent = /^\p{L}/u.test(name) ? name[0].toUpperCase() : "☎";
}

export function showTime(milliseconds) {
  $("timer").textContent = clockTime(Math.max(0, Math.floor(milliseconds / 1000)));
}

/** Put the keyboard where the next thing happens; on touch screens a field would raise the keyboard over the page. */
export function focusOn(id) {
  if (id === "dial" && !matchMedia("(hover: hover)").matches) return;
  $(id).focus({ preventScroll: true });
}

export function pressKey(key) {
  const button = document.querySelector(`#pad [data-key="${CSS.escape(key)}"]`);
  button?.classList.add("down");
  setTimeout(() => button?.classList.remove("down"), 120);
}

/** Type a character into the dial field, at the cursor. */
export function typeKey(key) {
  const { dial } = fields;
  const end = dial.selectionEnd ?? dial.value.length;
  dial.setRangeText(key, dial.selectionStart ?? end, end, "end");
  dial.scrollLeft = dial.scrollWidth;
}

/** The button that a click on makes the page ring. */
export function showUnlock(wanted) {
  $("unlock").hidden = !wanted;
}

/** Offer to go on without a microphone; `act` null takes the offer back. */
export function showListen(act) {
  $("listen").hidden = !act;
  $("listen").onclick = act && (() => {
    $("listen").hidden = true;
    act();
  });
}

const OUTCOMES = {
  missed: () => "Missed call from",
  elsewhere: () => "Answered on another device, call from",
  taken: (call) => (call.incoming ? "Call from" : "Call to"),
};

/** The list of calls, newest first; a click on one dials again. */
export function showRecent(calls, dialAgain) {
  const list = $("recent");
  $("clear").hidden = !calls.length;
  list.replaceChildren(...calls.map((call) => recentCall(call, dialAgain)));
  if (!calls.length) list.append(Object.assign(document.createElement("li"), { className: "none", textContent: "None yet." }));
}

function recentCall(call, dialAgain) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = call.outcome;
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  icon.setAttribute("class", `icon ${call.outcome}`);
  icon.setAttribute("role", "img");
  icon.setAttribute("aria-label", OUTCOMES[call.outcome](call));
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", call.incoming ? "#i-in" : "#i-out");
  icon.append(use);
  const who = document.createElement("div");
  const name = document.createElement("b");
  name.textContent = call.name || shortName(call.peer);
  who.append(name);
  const when = document.createElement("time");
  const at = new Date(call.startedAt);
  const today = at.toDateString() === new Date().toDateString();
  when.textContent = at.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "short", timeStyle: "short" });
  button.append(icon, who, when);
  button.addEventListener("click", () => dialAgain(call.peer));
  item.append(button);
  return item;
}

/** The devices of one kind; one without a name yet is counted. */
export function showChoices(id, devices, chosen) {
  const own = Object.assign(document.createElement("option"), { value: "", textContent: "As the system has it" });
  const options = devices.map(({ id: value, label }, index) =>
    Object.assign(document.createElement("option"), { value, textContent: label || `Device ${index + 1}` }),
  );
  $(id).replaceChildren(own, ...options);
  $(id).value = devices.some((device) => device.id === chosen) ? chosen : "";
}

export function showTest(testing) {
  $("test").setAttribute("aria-pressed", String(testing));
  $("test").textContent = testing ? "Stop the test" : "Test the microphone";
  if (!testing) showLevel(0);
}

export function showLevel(level) {
  $("level").value = level;
}
