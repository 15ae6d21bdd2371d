// Who is at the page: by name and password, as a guest, by the address, an earlier visit of this tab, a provider or the site.

import * as alerts from "./alerts.js";
import { $ } from "./dom.js";
import { Emitter } from "./events.js";
import * as otherWays from "./other-ways.js";
import * as push from "./push.js";
import * as ui from "./ui.js";
import { say } from "./words.js";

const STORED = "softphone.name"; // who was here; never a password or a token
const SLEEP_MS = 2_000;

/** What this tab has kept under that name, null for nothing that can be read. */
export function kept(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/** Whoever comes with a name in the address is logged in at once; the address bar forgets it. */
function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  const user = given.get("user");
  return user ? { user, password: given.get("token") ?? "" } : null;
}

/** The log-in form. Events: "out" when nobody is logged in any more, "gesture" when somebody has pressed Log in. */
export class Login extends Emitter {
  /** The person is logged in, whatever the connection does. */
  entered = false;
  #client;

  /** @param {import("./gateway-client.js").GatewayClient} client */
  constructor(client) {
    super();
    this.#client = client;
    client.addEventListener("refused", ({ detail }) => this.#refused(detail));
    client.addEventListener("connection", ({ detail: state }) => state === "online" && this.#remember());
    $("login").addEventListener("submit", (event) => this.#submitted(event));
    $("guest").addEventListener("click", () => {
      this.#start({ user: `guest-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}` });
    });
    $("logout").addEventListener("click", () => this.#logOut());
    addEventListener("hashchange", async () => {
      const given = fromAddress();
      if (!given) return;
      if (this.entered) await this.#logOut();
      this.#start(given);
    });
  }

  /** As whoever the address, an earlier visit of this tab, the provider or the site says; else the person is asked. */
  async enter() {
    const known = fromAddress() ?? { ...kept(STORED), again: true };
    const returned = otherWays.outcome();
    const offered = otherWays.offer(this.#client, $("provider"));
    if (known.user) this.#start(known);
    else if (returned === "done") this.#start({ signedIn: true });
    else {
      ui.focusOn("user");
      if (returned) ui.tell(say(`login.${returned}`), "bad");
      else if ((await offered) && !this.entered && otherWays.mayAskSite()) this.#start({ bySite: true });
    }
  }

  #submitted(event) {
    event.preventDefault();
    alerts.askForNotifications().then(() => this.dispatchEvent(new Event("gesture")));
    const user = ui.fields.user.value.trim();
    if (user) this.#start({ user, password: ui.fields.password.value });
    else {
      ui.tell(say("login.missing"), "bad");
      ui.focusOn("user");
    }
  }

  #start({ user = "", password = "", signedIn = false, bySite = false, again = false }) {
    this.entered = true;
    ui.tell(say("state.connecting"));
    if (password) this.#client.signIn(user, password);
    else if (bySite) this.#client.signInBySite();
    else if (signedIn) this.#client.resume(user);
    else this.#client.enterAsGuest(user, { again });
  }

  #remember() {
    const { name, guest } = this.#client.user;
    sessionStorage.setItem(STORED, JSON.stringify({ user: name, signedIn: !guest }));
    ui.fields.password.value = "";
  }

  #refused({ reason, message, guest }) {
    if (["session", "password"].includes(reason)) push.sleep(this.#client).catch(() => {});
    const words = {
      password: "login.wrong",
      session: "login.again",
      "password-needed": guest ? "login.protected" : "login.again",
      taken: "login.taken",
      offline: "login.unreachable",
    };
    this.#out(reason in words ? say(words[reason]) : `${message}.`, reason === "session" ? "" : "bad");
    ui.focusOn(["password", "password-needed"].includes(reason) ? "password" : "user");
  }

  async #logOut() {
    // Nobody stays signed in for a push service that does not answer.
    await Promise.race([push.sleep(this.#client), new Promise((done) => setTimeout(done, SLEEP_MS))]).catch(() => {});
    this.#client.signOut();
    this.#out(say("login.prompt"));
  }

  #out(message, tone = "") {
    this.entered = false;
    sessionStorage.removeItem(STORED);
    ui.showUser("");
    ui.showUnlock(false);
    ui.showListen(null);
    this.dispatchEvent(new Event("out"));
    ui.tell(message, tone);
  }
}
