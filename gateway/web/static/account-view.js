// The user's own SIP account at a PBX: brought here, how it stands, given up.

import { $ } from "./dom.js";
import { say, sentenceFor } from "./words.js";

const SOON_MS = 1_000; // while it is being registered
const LATER_MS = 30_000;
const WORDS = new Set([400, 403, 404, 409, 503]);

/**
 * The card of the page; shows itself to users who have an account or may bring one.
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {(text: string, tone?: string) => void} tell
 */
export function showAccount(client, tell) {
  let next = 0;
  let user = ""; // whose card it is
  let asked = 0; // an answer to an older question than the latest is not shown

  async function ask() {
    clearTimeout(next);
    const number = ++asked;
    if (client.connection !== "online") return;
    if (!client.user || client.user.guest) {
      $("account").hidden = true;
      return;
    }
    if (user !== client.user.name) clear(client.user.name);
    try {
      const found = await client.request("account.get");
      if (number !== asked) return;
      show(found);
      next = setTimeout(ask, found.account?.state === "registering" ? SOON_MS : LATER_MS);
    } catch {
      if (number === asked) next = setTimeout(ask, LATER_MS);
    }
  }

  function show({ account, registrars }) {
    const stands = account && account.state !== "refused";
    const within = $("account").contains(document.activeElement);
    $("account").hidden = !account && !registrars.length;
    $("account-form").hidden = Boolean(stands || account?.configured || !registrars.length);
    $("account-remove").hidden = !account || account.configured;
    offer(registrars, account);
    const status = account?.status || "–";
    const words = account ? [say(`account.${account.state}`, { ...account, status })] : [say("account.none")];
    if (account?.configured) words.push(say("account.configured"));
    const state = $("account-state");
    if (state.textContent !== words.join(" ")) state.textContent = words.join(" "); // said once by screen readers
    state.dataset.state = account?.state ?? "none";
    // What had the focus may be gone: whoever uses keys goes on from its place.
    const now = document.activeElement;
    if (within && (!$("account").contains(now) || now?.closest("[hidden]"))) $(account ? "account-remove" : "account-name").focus();
  }

  function clear(name) {
    user = name;
    $("account-form").reset();
  }

  function offer(registrars, account) {
    const select = $("account-registrar");
    const there = [...select.options].map(({ value }) => value);
    if (there.join("\n") !== registrars.join("\n")) {
      const chosen = select.value || account?.registrar;
      select.replaceChildren(...registrars.map((name) => new Option(name, name, false, name === chosen)));
    }
    if (account && !$("account-name").value) $("account-name").value = account.username;
  }

  async function change(method, params) {
    try {
      await client.request(method, params);
      return true;
    } catch (error) {
      const { data, message } = /** @type {import("./rpc.js").RpcError} */ (error);
      const { status, cause } = data ?? {};
      tell(WORDS.has(status) ? say(`account.error${status}`) : sentenceFor(cause, message), "bad");
      return false;
    } finally {
      await ask();
    }
  }

  $("account-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const password = $("account-password").value;
    $("account-password").value = ""; // it stays nowhere in the page
    const [registrar, username, auth] = [$("account-registrar"), $("account-name"), $("account-auth")].map(({ value }) => value.trim());
    await change("account.set", { registrar, username, password, ...(auth && { auth_username: auth }) });
  });
  $("account-remove").addEventListener("click", async () => {
    if (await change("account.remove", {})) clear(user);
  });
  client.addEventListener("connection", ask);
}
