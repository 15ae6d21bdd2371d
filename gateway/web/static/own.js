// What one says of oneself: presence, do not disturb, and where calls go that one does not take.

import { $ } from "./dom.js";
import { say, troubleOf } from "./words.js";

const STORED = "softphone.presence"; // what was chosen in this tab; the gateway holds it while a page is open
/** @type {Record<string, "forward-always" | "forward-busy" | "forward-no-answer">} */
const FORWARDS = { always: "forward-always", busy: "forward-busy", no_answer: "forward-no-answer" };

/**
 * The card of the page; shows itself to users, not to guests.
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {(text: string, tone?: string) => void} tell
 */
export function showOwn(client, tell) {
  /** @type {any} */
  let stands = null; // forwarding as the gateway has it

  client.addEventListener("connection", async ({ detail: state }) => {
    if (state !== "online") return;
    const isGuest = Boolean(client.user?.guest);
    $("own").hidden = isGuest;
    if (isGuest) return;
    $("own-presence").value = sessionStorage.getItem(STORED) ?? "";
    try {
      if ($("own-presence").value) await told(client, $("own-presence").value);
      const rules = await client.request("call.forward");
      if (!$("own-form").contains(document.activeElement)) fill(rules); // nobody's typing is overwritten
    } catch {
      // The connection went again; the next one asks anew.
    }
  });

  $("own-presence").addEventListener("change", async () => {
    const { value } = $("own-presence");
    sessionStorage.setItem(STORED, value);
    await tried(() => told(client, value));
  });
  $("disturb").addEventListener("change", () => change({ do_not_disturb: $("disturb").checked }));
  $("forward-after").addEventListener("change", () => {
    const field = $("forward-after");
    if (field.checkValidity()) change({ after: field.valueAsNumber });
    else fill(stands);
  });
  for (const [name, id] of Object.entries(FORWARDS)) {
    $(id).addEventListener("change", () => change({ [name]: $(id).value.replace(/\s+/g, "") || null }));
  }
  $("own-form").addEventListener("submit", (event) => event.preventDefault()); // Enter is a change

  async function change(what) {
    const now = await tried(() => client.request("call.forward", what));
    fill(now ?? stands);
    if (now) tell(say(now.do_not_disturb ? "own.undisturbed" : "own.saved"));
  }

  async function tried(work) {
    try {
      return await work();
    } catch (error) {
      tell(troubleOf(error), "bad");
      return null;
    }
  }

  function fill(rules) {
    if (!rules) return;
    stands = rules;
    $("disturb").checked = rules.do_not_disturb;
    $("forward-after").value = String(rules.after);
    for (const [name, id] of Object.entries(FORWARDS)) {
      $(id).value = rules[name] ?? "";
    }
  }
}

const told = (client, status) => client.request("presence.set", status ? { status } : {});
