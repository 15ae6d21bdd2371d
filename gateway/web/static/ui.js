// What the page shows. It is told, it never decides.

import { $ } from "./dom.js";
import { clockTime, nameOf, percent, say, shortName, when } from "./words.js";

export const fields = {
  user: $("user"),
  password: $("password"),
  dial: $("dial"),
  target: $("target"),
};

/** "login", "idle", "incoming" or "call": which parts of the page there are. */
export function showView(view) {
  document.body.dataset.view = view;
}

let heldUntil = 0;
let next = 0;

/**
 * The line that screen readers speak. `tone` "bad" is for what went wrong; `least`: milliseconds that nothing but what goes
 * wrong takes its place.
 */
export function tell(text, tone = "", least = 0) {
  clearTimeout(next);
  const wait = heldUntil - Date.now();
  if (wait > 0 && tone !== "bad") {
    next = setTimeout(() => tell(text, tone), wait);
    return;
  }
  heldUntil = Date.now() + least;
  const status = $("status");
  if (status.textContent !== text) status.textContent = text;
  status.dataset.tone = tone;
}

export function showConnection(state) {
  $("connection").dataset.state = state;
  $("connection").textContent = say(`connection.${state}`);
  $("call").disabled = state !== "online";
}

export function showUser(name) {
  $("me").textContent = name;
  $("me").hidden = $("logout").hidden = !name;
}

/** The word on a button with a sign. */
export function label(id, word) {
  const span = $(id).querySelector("span");
  if (span && span.textContent !== say(word)) span.textContent = say(word);
}

/** The call in front, or null: who, since when, muted or not. */
export function showCall(call) {
  const talking = call?.state === "talking";
  document.body.toggleAttribute("data-ringing", Boolean(call) && !talking);
  $("timer").hidden = !talking;
  $("mute").disabled = !talking || !call.local;
  const muted = Boolean(call?.muted);
  $("mute").setAttribute("aria-pressed", String(muted));
  label("mute", muted ? "action.unmute" : "action.mute");
  $("mute").querySelector("use")?.setAttribute("href", muted ? "#i-mic-off" : "#i-mic");
  $("hold").disabled = !talking || call.away;
  $("hold").setAttribute("aria-pressed", String(Boolean(call?.held)));
  label("hold", call?.held ? "action.resume" : "action.hold");
  $("record").disabled = !talking || !call.id || call.away;
  $("record").setAttribute("aria-pressed", String(Boolean(call?.recording)));
  label("record", call?.recording ? "action.recordStop" : "action.record");
  $("recorded").hidden = !call?.recording;
  showVerified(call?.verified ?? "none");
  $("transfer").disabled = !talking || !call.id || call.away || call.transferring;
  label("hangup", talking ? "action.hangUp" : "action.cancel");
  $("digits").textContent = call?.digits ? say("state.digits", { digits: call.digits }) : "";
  document.title = call?.state === "incoming" ? `☎ ${nameOf(call)}` : say("app.title");
  if (!call) return;
  const name = nameOf(call);
  $("party").textContent = name;
  $("detail").textContent = name === call.peer ? "" : detail(call);
  $("avatar").textContent = /^\p{L}/u.test(name) ? name[0].toUpperCase() : "☎";
}

/** What its trunk says of the other side's number; nothing where it says nothing. */
function showVerified(verified) {
  const said = verified === "none" ? "" : say(`verified.${verified}`);
  if ($("verified").textContent !== said) $("verified").textContent = said;
  Object.assign($("verified"), { hidden: !said }).dataset.verdict = verified;
}

/** Whether this user may record calls. */
export function showRights({ record }) {
  document.body.toggleAttribute("data-may-record", record);
}

/** The address, where the name does not say it. */
function detail({ name, peer }) {
  const short = shortName(peer);
  return (name && name !== short) || peer !== short ? peer : "";
}

export function showTime(milliseconds) {
  $("timer").textContent = clockTime(Math.max(0, Math.floor(milliseconds / 1000)));
}

/** Bars, and a sentence where something is wrong (see quality.js); null: nothing is known. */
export function showQuality(quality) {
  const trouble = quality?.problem ? say(`quality.${quality.problem}`, { share: percent(quality.share) }) : "";
  if ($("trouble").textContent !== trouble) $("trouble").textContent = trouble;
  $("trouble").hidden = !trouble;
  $("quality").hidden = !quality;
  if (!quality) return;
  $("quality").dataset.bars = String(quality.bars);
  $("quality").setAttribute("aria-label", say("quality.label", { bars: quality.bars }));
}

/** How loud we are in the call, 0 to 1; null where there is no microphone. */
export function showVoice(level) {
  $("voice").hidden = level === null;
  $("voice").value = level ?? 0;
}

/** The field that asks whom the call is to go to. */
export function showTransfer(open) {
  $("transferring").hidden = !open;
  $("transfer").setAttribute("aria-expanded", String(open));
  document.body.toggleAttribute("data-transferring", open);
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

/** The list of calls, newest first; a click on one dials again. */
export function showRecent(calls, dialAgain) {
  const list = $("recent");
  $("clear").hidden = !calls.length;
  list.replaceChildren(...calls.map((call) => recentCall(call, dialAgain)));
  if (!calls.length) list.append(Object.assign(document.createElement("li"), { className: "none", textContent: say("recent.none") }));
}

function recentCall(call, dialAgain) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = call.outcome;
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  icon.setAttribute("class", `icon ${call.outcome}`);
  icon.setAttribute("role", "img");
  const kind = call.outcome === "taken" ? (call.incoming ? "from" : "to") : call.outcome;
  icon.setAttribute("aria-label", say(`recent.${kind}`));
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", call.incoming ? "#i-in" : "#i-out");
  icon.append(use);
  const who = document.createElement("div");
  who.append(Object.assign(document.createElement("b"), { textContent: nameOf(call) }));
  const time = Object.assign(document.createElement("time"), { textContent: when(call.startedAt) });
  button.append(icon, who, time);
  button.addEventListener("click", () => dialAgain(call.peer));
  item.append(button);
  return item;
}

/** The devices of one kind; one without a name yet is counted. */
export function showChoices(id, devices, chosen) {
  const own = Object.assign(document.createElement("option"), { value: "", textContent: say("sound.system") });
  const options = devices.map(({ id: value, label: name }, index) =>
    Object.assign(document.createElement("option"), { value, textContent: name || say("sound.device", { number: index + 1 }) }),
  );
  $(id).replaceChildren(own, ...options);
  $(id).value = devices.some((device) => device.id === chosen) ? chosen : "";
}

export function showTest(testing) {
  $("test").setAttribute("aria-pressed", String(testing));
  $("test").textContent = say(testing ? "sound.stop" : "sound.test");
  if (!testing) showLevel(0);
}

export function showLevel(level) {
  $("level").value = level;
}

/** What the keys do, with the keys as keys. */
export function showKeys() {
  const keys = { digits: ["0", "9"], enter: ["Enter"], mute: ["M"], escape: ["Esc"] };
  const parts = say("page.keys", Object.fromEntries(Object.keys(keys).map((name) => [name, `\n${name}\n`]))).split("\n");
  const shown = parts.flatMap((part) => {
    if (!(part in keys)) return [part];
    return keys[part].flatMap((key, index) => [...(index ? ["–"] : []), Object.assign(document.createElement("kbd"), { textContent: key })]);
  });
  $("keys").replaceChildren(...shown);
}
