// The rooms that one has opened: by a number and a PIN that one tells others.

import { $ } from "./dom.js";
import { showRows } from "./lines.js";
import { say, sentenceFor } from "./words.js";

/** @typedef {{room: string, title: string, by: string, has_pin: boolean, used: boolean}} Opened */

const WORDS = new Set([400, 403, 404, 409, 503]);

/**
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {(number: string, pin: string) => void} join
 */
export function showOwnRooms(client, join) {
  /** @type {Map<string, string>} PINs that were told to this page, which are told once */
  const pins = new Map();
  let user = ""; // whose rooms they are
  let asked = 0; // an answer to an older question than the latest is not shown

  async function ask() {
    const number = ++asked;
    if (client.connection !== "online") return;
    if (user !== client.user?.name) clear();
    const found = client.user?.guest ? { opened: [], may_open: false } : await client.request("room.list").catch(() => null);
    if (found && number === asked) show(found.opened, found.may_open);
  }

  function clear() {
    user = client.user?.name ?? "";
    pins.clear();
    told("");
    $("open-form").reset();
  }

  /** @param {Opened[]} rooms @param {boolean} mayOpen */
  function show(rooms, mayOpen) {
    const isWithin = $("opened").contains(document.activeElement);
    for (const number of pins.keys()) if (!rooms.some(({ room }) => room === number)) pins.delete(number);
    $("opened").hidden = !mayOpen && !rooms.length;
    $("open-form").hidden = !mayOpen;
    showRows($("opened-rooms"), rooms.map(row));
    // What had the focus may be gone with its row: whoever uses keys goes on from here.
    if (isWithin && !$("opened").contains(document.activeElement)) $("open-title").focus();
  }

  /** @param {Opened} opened */
  function row({ room, title, by, has_pin: hasPin, used }) {
    const name = title ? `${room} · ${title}` : room;
    const pin = pins.get(room);
    const owner = by === client.user?.name ? "" : say("rooms.of", { name: by });
    const notes = [owner, pin ? say("rooms.itsPin", { pin }) : hasPin ? say("rooms.hasPin") : "", used ? say("rooms.used") : ""];
    const button = (id, act) => ({ id, text: say(`rooms.${id}`), label: say(`rooms.${id}Name`, { name: room }), act });
    const buttons = [
      button("join", () => join(room, pin ?? "")),
      button("newPin", () => change("room.change", { room, pin: "auto" })),
      button("end", () => (!used || confirm(say("rooms.endSure", { name: room }))) && change("room.close", { room })),
    ];
    return { key: room, name, note: notes.filter(Boolean).join(", "), buttons };
  }

  /** @param {string} method @param {object} params */
  async function change(method, params) {
    try {
      const made = await client.request(method, params);
      if (made.pin) pins.set(made.room, made.pin);
      if (method === "room.open") told(say(made.pin ? "rooms.openedPin" : "rooms.opened", { name: made.room, pin: made.pin }));
      else told(made.pin ? say("rooms.pinNow", { name: made.room, pin: made.pin }) : "");
      return true;
    } catch (error) {
      const { data, message } = /** @type {import("./rpc.js").RpcError} */ (error);
      told(WORDS.has(data?.status) ? say(`rooms.error${data.status}`) : sentenceFor(data?.cause, message));
      return false;
    } finally {
      await ask();
    }
  }

  const told = (text) => ($("opened-told").textContent = text);

  $("open-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = { title: $("open-title"), number: $("open-number"), pin: $("open-pin") };
    const params = Object.entries(given).map(([name, { value }]) => [name, value.trim()]);
    if (await change("room.open", Object.fromEntries(params.filter(([, value]) => value)))) $("open-form").reset();
  });
  client.addEventListener("connection", ask);
  client.addEventListener("calls", () => client.calls.length || ask());
  document.addEventListener("visibilitychange", () => document.hidden || ask());
}
