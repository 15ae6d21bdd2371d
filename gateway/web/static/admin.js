// The operators' page: calls now with their quality, each call's messages on one time line, users and trunks.

import { manage } from "./admin-users.js";
import { Curves } from "./curves.js";
import { changes } from "./diff.js";
import { $, make } from "./dom.js";
import { Session, SignInError } from "./session.js";
import { clockTime, nameOf, percent, plain, say, translate } from "./words.js";

const POLL_MS = 2_000;

const session = new Session();
const curves = new Curves();
let role = "";
let chosen = ""; // id of the call that is looked at
let drawn = ""; // what of it is on the screen
let picked = []; // the messages whose text is shown, two at most
let timer = 0;

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${await session.token()}`, ...(options.body && { "Content-Type": "application/json" }) };
  const response = await fetch(`api/${path}`, { ...options, headers });
  if (!response.ok) throw new SignInError((await response.json().catch(() => ({}))).error ?? "", response.status);
  return response.status === 204 ? null : response.json();
}

function tell(text, tone = "") {
  $("status").textContent = text;
  $("status").dataset.tone = tone;
}

function show(signedIn) {
  $("login").hidden = signedIn;
  $("board").hidden = $("logout").hidden = !signedIn;
}

async function enter(prove, failure) {
  try {
    ({ role } = await prove());
    await refresh();
    $("new-user").hidden = role !== "admin";
    show(true);
    tell("");
    clearInterval(timer);
    timer = setInterval(() => refresh().catch(failed), POLL_MS);
  } catch (error) {
    failed(error, failure);
  }
}

function failed(error, sentence) {
  if (![401, 403].includes(error.status)) {
    tell(say("login.unreachable"), "bad");
    return;
  }
  clearInterval(timer);
  show(false);
  tell(error.status === 403 ? say("admin.forbidden") : (sentence ?? say("login.again")), sentence === "" ? "" : "bad");
}

async function refresh() {
  const [calls, users, trunks, accounts] = await Promise.all(["calls", "users", "trunks", "accounts"].map((path) => ask(path)));
  const online = users.users.reduce((sum, user) => sum + user.pages, 0);
  figures({ calls: calls.count, pages: online, phones: users.users.filter((user) => user.phones).length, trunks: trunks.count });
  rows("calls", ["caller", "dialled", "state", "since", "look"], calls.calls, (call) => [
    name(call.caller), plain(call.dialled), call.state, clockTime(Math.round(call.seconds)), look(call),
  ]);
  const isAdmin = role === "admin";
  rows("users", ["name", "id", "role", "pages", "phones", ...(isAdmin ? ["change"] : [])], users.users, (user) => [
    user.display_name || user.id, user.id, user.role, String(user.pages), String(user.phones ?? ""), ...(isAdmin ? [actions(user)] : []),
  ]);
  rows("accounts", ["name", "address", "number", "state"], accounts.accounts, (account) => [
    account.user, account.registrar, account.username, account.status ? `${account.state} (${account.status})` : account.state,
  ]);
  rows("trunks", ["name", "address", "registered", "reachable"], trunks.trunks, (trunk) => [
    trunk.name, trunk.uri, yesOrNo(trunk.registered), yesOrNo(trunk.reachable) + deaf(trunk),
  ]);
  if (chosen) await showCall();
}

/** @param {boolean | null} known */
const yesOrNo = (known) => (known === null ? "–" : say(known ? "admin.yes" : "admin.no"));

/** Which places of a trunk do not answer, where others do. */
function deaf(trunk) {
  const places = trunk.places.filter((place) => place.reachable === false).map((place) => place.uri);
  return trunk.reachable && places.length ? say("admin.deaf", { places: places.join(", ") }) : "";
}

const name = (uri) => nameOf({ peer: uri });

function figures(values) {
  $("figures").replaceChildren(...Object.entries(values).map(([key, value]) => {
    const item = make("li", {});
    item.append(make("b", { textContent: String(value) }), say(`admin.${key}`));
    return item;
  }));
}

/** A table; one that shows the same stays as it is, with whatever has the focus in it. */
function rows(id, columns, entries, cells) {
  const shown = entries.map((entry) => cells(entry));
  const table = /** @type {HTMLTableElement} */ ($(id));
  const signature = JSON.stringify(shown.map((row) => row.map((cell) => cell.dataset?.of ?? cell)));
  if (table.dataset.shown === signature) return;
  const { activeElement } = document;
  const focused = table.contains(activeElement) && /** @type {HTMLElement} */ (activeElement).dataset.of;
  table.dataset.shown = signature;
  const head = make("tr", {});
  head.append(...columns.map((column) => make("th", { scope: "col", textContent: say(`admin.${column}`) })));
  table.tHead?.replaceChildren(head);
  table.tBodies[0].replaceChildren(...shown.map((row) => {
    const line = make("tr", {});
    for (const cell of row) {
      const place = make("td", {});
      place.append(cell);
      line.append(place);
    }
    return line;
  }));
  const again = focused && table.querySelector(`[data-of="${CSS.escape(focused)}"]`);
  if (again) /** @type {HTMLElement} */ (again).focus({ preventScroll: true });
}

function look(call) {
  const button = make("button", { type: "button", textContent: say("admin.open") });
  button.dataset.of = call.id;
  button.setAttribute("aria-label", `${say("admin.open")}: ${name(call.caller)}, ${plain(call.dialled)}`);
  button.onclick = async () => {
    chosen = call.id;
    drawn = "";
    picked = [];
    await showCall();
    $("call-title").focus();
  };
  return button;
}

async function showCall() {
  let call;
  try {
    call = await ask(`calls/${encodeURIComponent(chosen)}`);
  } catch (error) {
    if (!(error instanceof SignInError && error.status === 404)) throw error;
    $("end").disabled = true; // it is over; what was seen of it stays
    return;
  }
  $("call").hidden = false;
  $("end").disabled = call.state === "ended";
  $("call-title").textContent = `${name(call.caller)} → ${plain(call.dialled)}: ${call.state}`;
  rows("media", ["party", "codec", "received", "lost", "jitter", "mos"], call.media, ({ party, received }) => [
    name(party), received.codec ?? "–", String(received.packets), share(received),
    `${received.jitter_ms.toFixed(1)} ms`, received.mos === null ? "–" : received.mos.toFixed(2),
  ]);
  curves.add(call);
  curves.draw($("curves"), name);
  const signature = `${call.id} ${call.messages.length}`;
  if (signature === drawn) return;
  drawn = signature;
  ladder(call.messages);
}

const share = ({ packets, lost }) => percent(lost / Math.max(1, packets + lost));

/** One column a peer, one row a message, the arrow says which way. */
function ladder(messages) {
  const peers = [...new Set(messages.map(({ peer }) => peer))];
  const head = make("tr", {});
  head.append(make("th", { scope: "col", textContent: say("admin.time") }), ...peers.map((peer) => make("th", { scope: "col", textContent: peer })));
  const table = /** @type {HTMLTableElement} */ ($("ladder"));
  table.tHead?.replaceChildren(head);
  const begin = messages[0]?.at ?? 0;
  table.tBodies[0].replaceChildren(...messages.map((message, index) => {
    const line = make("tr", {});
    line.append(make("td", { textContent: `+${(message.at - begin).toFixed(3)} s` }));
    for (const peer of peers) {
      const place = make("td", {});
      if (peer === message.peer) place.append(rung(message, index, messages));
      line.append(place);
    }
    return line;
  }));
  texts(messages);
}

function rung(message, index, messages) {
  const arrow = message.direction === "in" ? "→" : "←";
  const button = make("button", { type: "button", textContent: `${arrow} ${message.title}` });
  button.setAttribute("aria-pressed", String(picked.includes(index)));
  button.onclick = () => {
    picked = picked.includes(index) ? picked.filter((other) => other !== index) : [...picked, index].slice(-2);
    for (const [row, other] of [...$("ladder").querySelectorAll("button")].entries()) other.setAttribute("aria-pressed", String(picked.includes(row)));
    texts(messages);
  };
  return button;
}

/** The text of one message; of two the session descriptions side by side, with what changed marked. */
function texts(messages) {
  const found = picked.map((index) => messages[index]).filter(Boolean).sort((a, b) => a.at - b.at);
  const both = found.length === 2;
  const bodies = found.map(({ text }) => (both && text.includes("v=0") ? text.slice(text.indexOf("v=0")) : text).trim().split(/\r?\n/));
  const marks = both ? changes(bodies[0], bodies[1]) : bodies.map((lines) => lines.map(() => false));
  $("texts").replaceChildren(...bodies.map((lines, side) => {
    const block = make("pre", { tabIndex: 0 });
    block.setAttribute("aria-label", found[side].title);
    block.append(...lines.map((text, row) => make("span", { textContent: text, className: marks[side][row] ? (side ? "new" : "old") : "" })));
    return block;
  }));
}

const actions = manage(ask, tell, refresh);

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(() => session.signIn($("user").value.trim(), $("password").value), say("login.wrong"));
  $("password").value = "";
});
$("logout").addEventListener("click", async () => {
  await session.signOut();
  failed({ status: 401 }, "");
});
$("end").addEventListener("click", () => ask(`calls/${encodeURIComponent(chosen)}`, { method: "DELETE" }).then(refresh).catch(failed));

translate();
show(false);
enter(() => session.resume(), "");
