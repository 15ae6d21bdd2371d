// Voice messages: the light, the list, listening, calling back, deleting.

import { $ } from "./dom.js";
import { showRows } from "./lines.js";
import * as ui from "./ui.js";
import { clockTime, nameOf, say, when } from "./words.js";

/**
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {(peer: string) => unknown} dial
 * @returns {(has: boolean) => void} says whether the user has a mailbox
 */
export function showVoicemail(client, dial) {
  let played = ""; // the message in the player
  let asked = 0;

  async function ask(path, method = "GET") {
    const response = await fetch(`api/voicemail${path}`, { method, headers: { Authorization: `Bearer ${await client.token()}` } });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response;
  }

  function light(count) {
    $("light").hidden = !count;
    $("light-count").textContent = String(count);
    $("light").setAttribute("aria-label", count === 1 ? say("voicemail.one") : say("voicemail.light", { count }));
  }

  async function load() {
    const number = ++asked;
    try {
      const { messages } = await (await ask("")).json();
      if (number === asked) draw(messages);
    } catch {
      // The connection went; what comes with the next one is loaded then.
    }
  }

  function draw(messages) {
    light(messages.filter((message) => message.new).length);
    if (!messages.some(({ id }) => id === played)) play("", "");
    showRows($("voicemail"), messages.map(row));
    $("voicemail").hidden = false;
    $("voicemail-none").hidden = messages.length > 0;
  }

  function row(message) {
    const name = nameOf({ name: message.display_name, peer: message.caller });
    const button = (id, act) => ({ id, text: say(`voicemail.${id}`), label: say(`voicemail.${id}Name`, { name }), act });
    const told = [message.new && say("voicemail.new"), when(message.at * 1000), clockTime(Math.round(message.seconds))];
    return {
      key: message.id,
      name,
      note: told.filter(Boolean).join(" · "),
      buttons: [
        button("play", () => listen(message.id, name)),
        button("call", () => dial(message.caller)),
        button("remove", () => tried(() => ask(`/${message.id}`, "DELETE").then(load))),
      ],
    };
  }

  async function listen(id, name) {
    await tried(async () => {
      const sound = await (await ask(`/${id}`)).blob();
      play(id, URL.createObjectURL(sound));
      $("voicemail-player").setAttribute("aria-label", say("voicemail.player", { name }));
      await $("voicemail-player").play();
    });
  }

  function play(id, url) {
    const player = $("voicemail-player");
    if (player.src) URL.revokeObjectURL(player.src);
    played = id;
    player.hidden = !id;
    if (url) player.src = url;
    else player.removeAttribute("src");
    if (!url) player.load();
  }

  async function tried(work) {
    await work().catch(() => ui.tell(say("voicemail.failed"), "bad"));
  }

  function none() {
    asked += 1;
    light(0);
    play("", "");
    $("voicemail").hidden = true;
  }

  client.addEventListener("notification", ({ detail: { method } }) => method === "voicemail" && load());
  client.addEventListener("connection", ({ detail: state }) => state === "offline" && none());
  $("light").addEventListener("click", () => {
    $("voicemail").scrollIntoView({ block: "nearest" });
    $("voicemail").querySelector("button")?.focus();
  });
  return (has) => (has ? load() : none());
}
