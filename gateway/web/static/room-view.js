// Conference rooms: joining one by its number, and who is in the one that the call in front is in.

import { $ } from "./dom.js";
import { showRows } from "./lines.js";
import { showOwnRooms } from "./own-rooms.js";
import * as ui from "./ui.js";
import { dialled, nameOf, say, troubleOf } from "./words.js";

/** @typedef {{id: string, uri: string, display_name: string, muted: boolean, pictures: Record<string, string>}} Member */

/** Enter a PIN once the call is up, as fingers would. */
function enter(client, call, pin) {
  let isSent = false;
  call.addEventListener("change", async () => {
    if (isSent || call.state !== "talking" || call.media !== "connected") return;
    isSent = true;
    try {
      for (const digit of `${pin}#`) await client.request("call.dtmf", { call_id: call.id, digit });
    } catch {
      // The call is over, or takes no digits: there is the keypad.
    }
  });
}

/**
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {() => ?import("./call.js").Call} front
 * @param {(number: string) => ?import("./call.js").Call} dial
 * @param {(names: Record<string, string> | null) => void} namePictures hears the names of those who are seen, by mid
 */
export function showRooms(client, front, dial, namePictures) {
  let watched = ""; // the room that the call in front is in
  /** @type {{members: Member[], moderates: boolean, locked: boolean, speaker: string} | null} what is known of it */
  let room = null;

  async function follow(name, again = false) {
    if (name === watched && !again) return;
    if (watched && name !== watched) client.request("room.unwatch", { room: watched }).catch(() => {});
    watched = name;
    room = null;
    draw();
    const found = name && (await client.request("room.watch", { room: name }).catch(() => null));
    if (!found || name !== watched) return;
    room = found;
    draw();
  }

  /** @param {{event: string, member: any, room: string}} told `member` is its id where it speaks */
  function heard({ event, member, room: name }) {
    if (!room || name !== watched) return;
    const others = room.members.filter(({ id }) => id !== member?.id);
    if (event === "left") room.members = others;
    else if (event === "joined") room.members = [...others, member];
    else if (event === "muted" || event === "unmuted" || event === "pictures") room.members = room.members.map((one) => (one.id === member.id ? member : one));
    else if (event === "speaker") room.speaker = member;
    else if (event === "locked" || event === "unlocked") room.locked = event === "locked";
    draw();
  }

  function draw() {
    const own = front()?.member;
    namePictures(namesOfSeen(own));
    document.body.toggleAttribute("data-room", Boolean(watched));
    document.body.toggleAttribute("data-moderates", Boolean(room?.moderates));
    $("lock").hidden = !room?.moderates;
    $("lock").setAttribute("aria-pressed", String(Boolean(room?.locked)));
    $("lock").textContent = say(room?.locked ? "rooms.unlock" : "rooms.lock");
    showRows($("room"), (room?.members ?? []).map((member) => row(member, member.id === own)));
  }

  /** @param {string | undefined} own */
  function namesOfSeen(own) {
    const seen = room?.members.find(({ id }) => id === own)?.pictures;
    if (!seen) return null;
    const named = new Map(room?.members.map((member) => [member.id, nameOf({ name: member.display_name, peer: member.uri })]));
    return Object.fromEntries(Object.entries(seen).map(([mid, id]) => [mid, named.get(id) ?? ""]));
  }

  /** @param {Member} member @param {boolean} isOwn */
  function row(member, isOwn) {
    const name = nameOf({ name: member.display_name, peer: member.uri });
    const notes = [isOwn && "rooms.you", member.id === room?.speaker && "rooms.speaks", member.muted && "rooms.muted"].filter((word) => typeof word === "string");
    const button = (id) => ({ id, text: say(`rooms.${id}`), label: say(`rooms.${id}Name`, { name }), act: () => change(id, { member: member.id }) });
    const buttons = room?.moderates ? [button(member.muted ? "unmute" : "mute"), ...(isOwn ? [] : [button("kick")])] : [];
    return { key: member.id, name, note: notes.map((word) => say(word)).join(", "), buttons };
  }

  async function change(action, params = {}) {
    try {
      await client.request(`room.${action}`, { room: watched, ...params });
    } catch (error) {
      ui.tell(troubleOf(error), "bad");
    }
  }

  /** @param {string} number @param {string} pin */
  function join(number, pin) {
    const call = dialled(number) ? dial(number) : null;
    if (call && pin) enter(client, call, pin);
    return call;
  }

  client.addEventListener("calls", () => follow(front()?.room ?? ""));
  client.addEventListener("connection", ({ detail: state }) => {
    if (state === "online") $("rooms").hidden = Boolean(client.user?.guest);
    if (state === "online" && watched) follow(watched, true);
  });
  client.addEventListener("notification", ({ detail: { method, params } }) => method === "room" && heard(params));
  $("lock").addEventListener("click", () => change(room?.locked ? "unlock" : "lock"));
  $("room-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const pin = $("room-pin").value.trim();
    if (join($("room-number").value, pin)) $("room-pin").value = "";
  });
  showOwnRooms(client, join);
  draw();
}
