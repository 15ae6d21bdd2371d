// The calls that are not in front, here and on the user's other devices: swap, accept, connect, take.
// Rows stay the same elements as long as they mean the same, so that no focus is lost under somebody's fingers.

import { nameOf, say } from "./words.js";

/** @typedef {{key: string, name: string, note: string, buttons: {id: string, text: string, label: string, act: () => void}[]}} Row */

/** @param {HTMLElement} card with a list @param {Row[]} rows */
export function showRows(card, rows) {
  const list = card.querySelector("ul");
  const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = rows.map((row) => {
    const item = known.get(row.key) ?? Object.assign(document.createElement("li"), { className: "line" });
    fill(item, row);
    return item;
  });
  for (const item of known.values()) if (!items.includes(item)) item.remove();
  for (const [place, item] of items.entries()) if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  card.hidden = !rows.length;
}

function fill(item, row) {
  const signature = JSON.stringify([row.name, row.note, row.buttons.map(({ id, text }) => [id, text])]);
  if (item.dataset.shown !== signature) draw(item, row);
  Object.assign(item.dataset, { key: row.key, shown: signature });
  // What looks the same may be about another call by now.
  const drawn = new Map([...item.querySelectorAll("button")].map((button) => [button.dataset.act, button]));
  for (const { id, act } of row.buttons) drawn.get(id).onclick = act;
}

function draw(item, { name, note, buttons }) {
  const who = document.createElement("div");
  who.append(
    Object.assign(document.createElement("b"), { textContent: name }),
    Object.assign(document.createElement("span"), { textContent: note }),
  );
  const former = new Map([...item.querySelectorAll("button")].map((button) => [button.dataset.act, button]));
  const shown = buttons.map(({ id, text, label }) => {
    const button = former.get(id) ?? Object.assign(document.createElement("button"), { type: "button" });
    button.dataset.act = id;
    button.textContent = text;
    button.setAttribute("aria-label", label);
    return button;
  });
  const focused = document.activeElement;
  item.replaceChildren(who, ...shown);
  if (shown.includes(focused)) focused.focus({ preventScroll: true });
}

const button = (id, word, name, act) => ({ id, text: say(word), label: say(`${word}Name`, { name }), act });

/**
 * The rows of the calls behind `front`.
 * @param {{calls: import("./call.js").Call[]}} client
 * @param {(calls: import("./call.js").Call[]) => void} merge makes one call of two
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
