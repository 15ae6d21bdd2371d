// The calls that are not in front, here and on the user's other devices: swap, accept, connect, take.

import { make, showList } from "./dom.js";
import { nameOf, say } from "./words.js";

/** @typedef {import("./call.js").Call} Call */
/** @typedef {{key: string, name: string, note: string, buttons: {id: string, text: string, label: string, act: () => void}[]}} Row */

/** @param {HTMLElement} card with a list @param {Row[]} rows */
export function showRows(card, rows) {
  showList(card, rows, ({ key }) => key, (row, item = make("li", { className: "line" })) => {
    fill(item, row);
    return item;
  });
  card.hidden = !rows.length;
}

/** @param {HTMLElement} item @param {Row} row */
function fill(item, row) {
  const signature = JSON.stringify([row.name, row.note, row.buttons.map(({ id, text }) => [id, text])]);
  if (item.dataset.shown !== signature) draw(item, row);
  Object.assign(item.dataset, { key: row.key, shown: signature });
  // What looks the same may be about another call by now.
  const acts = new Map(row.buttons.map(({ id, act }) => [id, act]));
  for (const button of item.querySelectorAll("button")) button.onclick = acts.get(button.dataset.act ?? "") ?? null;
}

/** @param {HTMLElement} item @param {Row} row */
function draw(item, { name, note, buttons }) {
  const who = make("div");
  who.append(make("b", { textContent: name }), make("span", { textContent: note }));
  const former = new Map([...item.querySelectorAll("button")].map((button) => [button.dataset.act, button]));
  const shown = buttons.map(({ id, text, label }) => {
    const button = former.get(id) ?? make("button", { type: "button" });
    button.dataset.act = id;
    button.textContent = text;
    button.setAttribute("aria-label", label);
    return button;
  });
  const focused = shown.find((button) => button === document.activeElement);
  item.replaceChildren(who, ...shown);
  focused?.focus({ preventScroll: true });
}

const button = (id, word, name, act) => ({ id, text: say(word), label: say(`${word}Name`, { name }), act });

/**
 * The rows of the calls behind `front`.
 * @param {{calls: Call[]}} client
 * @param {Call | null} front
 * @param {(calls: Call[]) => void} merge makes one call of two
 */
export function otherCalls(client, front, merge) {
  return client.calls
    .filter((call) => call !== front)
    .map((call, index) => {
      const name = nameOf(call);
      const both = call.state === "talking" && front?.state === "talking" && call.id && front.id && !call.transferring;
      const buttons =
        call.state === "incoming"
          ? [button("decline", "action.decline", name, () => call.hangUp()), button("accept", "action.accept", name, () => call.accept())]
          : [
              ...(both ? [button("merge", "action.merge", name, () => merge([call, front]))] : []),
              ...(both ? [button("connect", "action.connect", name, () => call.transfer(front))] : []),
              ...(call.state === "talking" ? [button("swap", "action.swap", name, () => call.setHeld(false))] : []),
            ];
      const note = { incoming: "ringing", calling: "calling", ringing: "calling", talking: call.held ? "held" : "talking" }[call.state];
      return { key: call.id || `${call.peer} ${index}`, name, note: say(`lines.${note}`), buttons };
    });
}

/** The rows of the calls of the user's other devices. @param {import("./gateway-client.js").GatewayClient} client */
export function callsElsewhere(client) {
  return client.elsewhere.map((there) => {
    const name = nameOf({ name: there.from_name, peer: there.peer_id });
    return { key: there.call_id, name, note: "", buttons: [button("take", "devices.take", name, () => client.take(there))] };
  });
}

/**
 * The call that is talked in, else the newest that is made, else what rings, else what is held.
 * @param {Call[]} calls @param {Call | null} front who it was
 */
export function foremost(calls, front) {
  /** @param {Call} call */
  const rank = (call) => (call.state === "incoming" ? 1 : call.state === "talking" && call.held ? 2 : 3);
  /** @type {[number, Call][]} */
  const ranked = calls.map((call) => [call.state === "incoming" && calls.length === 1 ? 3 : rank(call), call]);
  const best = Math.max(...ranked.map(([value]) => value));
  const equals = ranked.filter(([value]) => value === best).map(([, call]) => call);
  return equals.find((call) => call === front) ?? equals.at(-1) ?? null;
}

/** Connected is said when sound can flow, and not before. @param {Call} call */
export function stateOf(call) {
  if (call.away) return "away";
  if (call.transferring) return "transferring";
  if (call.held) return "held";
  if (call.heldByPeer) return "heldByPeer";
  if (call.media === "broken") return "broken";
  if (call.media !== "connected") return "media";
  return call.muted ? "muted" : "talking";
}
