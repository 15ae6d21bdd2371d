// The gateway's client, usable alone: signing in, one WebSocket that comes back by itself, any number of calls.
// docs/gateway-client.md says how; the softphone page is built on it.

import { Call, MicrophoneError } from "./call.js";
import { RpcError, RpcSocket } from "./rpc.js";
import { Session, SignInError } from "./session.js";

export { Call, MicrophoneError, RpcError, SignInError };

const ICE_SERVERS_MS = 60_000;
const RESTORE_MS = 30_000;

/**
 * @typedef {"offline" | "connecting" | "online"} Connection
 * @typedef {{name: string, guest: boolean}} User
 * @typedef {{call_id: string, peer_id: string, from_name: string, state: string}} CallElsewhere
 */

/**
 * Events, each a CustomEvent:
 * - "connection" detail {Connection}
 * - "refused" detail {reason, message, guest}: signing in did not work or has ended; reason "password" (wrong), "session"
 *   (sign in again), "password-needed", "taken" (a guest's name), "offline" or "error"
 * - "incoming" detail {Call}; "calls" when any call has changed; "end" and "trouble" as a call's, with `call`
 * - "elsewhere": the calls of the user's other devices have changed
 * - "notification" detail {method, params}: what is about no call
 */
export class GatewayClient extends EventTarget {
  /** @type {Connection} */
  connection = "offline";
  /** @type {User | null} who is signed in */
  user = null;
  /** @type {Call[]} every call that has not ended, the oldest first */
  calls = [];
  /** @type {CallElsewhere[]} answered calls of the user's other devices: `take` brings one here */
  elsewhere = [];
  /** Id of the microphone to use, "" for the system's choice. */
  microphone = "";

  #base;
  #rpc;
  #session;
  #raw;
  #iceServers = null;
  #wanted = null; // who is to be signed in, over all reconnections
  #wasOnline = false; // this name is ours, perhaps on an earlier connection
  #returning = [];

  /**
   * @param {URL | string} base where the gateway's paths begin: by default the folder of the page
   * @param {{raw?: boolean}} options `raw` leaves the microphone as it is: no echo cancelling, no noise suppression
   */
  constructor(base = new URL(".", location.href), { raw = false } = {}) {
    super();
    this.#base = new URL(base);
    this.#raw = raw;
    this.#session = new Session(this.#base);
    const endpoint = new URL("rpc", this.#base);
    endpoint.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";
    this.#rpc = new RpcSocket(endpoint.href);
    this.#rpc.addEventListener("open", () => this.#announce());
    this.#rpc.addEventListener("close", () => this.#cut());
    this.#rpc.addEventListener("notification", ({ detail }) => this.#notified(detail.method, detail.params ?? {}));
  }

  // Who.

  /** With a password. What becomes of it is told by "connection" or "refused". */
  async signIn(name, password) {
    await this.#enter({ name, guest: false }, () => this.#session.signIn(name, password));
  }

  /** By the site's own means. */
  async signInBySite() {
    await this.#enter({ name: "", guest: false, resumed: true }, () => this.#session.site());
  }

  /** How people sign in here beside a password: see Session. */
  ways() {
    return this.#session.ways();
  }

  /** By the cookie of an earlier visit, `name` "": whoever that was. */
  async resume(name) {
    this.#wasOnline = true;
    await this.#enter({ name, guest: false, resumed: true }, () => this.#session.resume());
  }

  /** Without an account. `again`: the name was ours a moment ago (a reload). */
  async enterAsGuest(name, { again = false } = {}) {
    this.#wasOnline = again;
    await this.#enter({ name, guest: true }, async () => {});
  }

  /** End the calls, forget who it was. */
  signOut() {
    this.leave("unavailable");
    if (this.#wanted && !this.#wanted.guest) this.#session.signOut();
    this.#forget();
  }

  /** A token for HTTP requests in the user's name, "" for a guest. */
  async token() {
    return !this.#wanted || this.#wanted.guest ? "" : this.#session.token();
  }

  async #enter(who, prove) {
    this.#wanted = who;
    this.#become("connecting");
    try {
      const proved = await prove();
      who.name ||= proved.user;
    } catch (error) {
      if (this.#wanted === who) this.#notSignedIn(error);
      return;
    }
    if (this.#wanted === who) this.#rpc.open();
  }

  async #announce() {
    const who = this.#wanted;
    if (!who) return;
    try {
      const token = who.guest ? "" : await this.#session.token();
      const capabilities = { audio: true, video: false, data: false };
      const request = { peer_id: who.name, capabilities, ...(token && { token }) };
      const { peer_id: name } = await this.#rpc.request("announce", request);
      if (this.#wanted !== who) return;
      this.user = { name, guest: who.guest };
    } catch (error) {
      if (this.#wanted === who) this.#refused(error, who);
      return;
    }
    this.#wasOnline = true;
    this.#rpc.settled();
    this.#become("online");
    for (const call of [...this.calls]) call.reattach();
    for (const saved of this.#returning.splice(0)) this.#takeUp(saved);
    await this.#askElsewhere();
  }

  #refused(error, { guest }) {
    if (error instanceof SignInError) {
      this.#notSignedIn(error);
      return;
    }
    const taken = /already announced/i.test(error.message);
    if (!error.code || (taken && this.#wasOnline)) {
      // No response at all, or our own earlier connection has not been missed yet.
      this.#rpc.retry();
      return;
    }
    const asked = /authentication/i.test(error.message);
    this.#leaveWith(asked ? (guest ? "password-needed" : "session") : taken ? "taken" : "error", error.message);
  }

  #notSignedIn(error) {
    const known = error instanceof SignInError;
    const wrong = known && error.status === 401;
    this.#leaveWith(wrong ? (this.#wanted.resumed || this.user ? "session" : "password") : known ? "error" : "offline", error.message);
  }

  #leaveWith(reason, message) {
    const guest = Boolean(this.#wanted?.guest);
    this.signOut();
    this.#emit("refused", { reason, message, guest });
  }

  #forget() {
    this.#wanted = this.user = null;
    this.#wasOnline = false;
    this.elsewhere = [];
    this.#rpc.close();
    this.#become("offline");
  }

  #cut() {
    for (const call of [...this.calls]) call.cut();
    if (this.#wanted) this.#become("connecting");
  }

  #become(connection) {
    if (connection === this.connection) return;
    this.connection = connection;
    this.#emit("connection", connection);
  }

  // Calls.

  /**
   * Call a number, a name or a SIP address; other calls are held.
   * @param {string} peer @param {{listenOnly?: boolean}} options `listenOnly` does without a microphone
   * @returns {Call}
   */
  dial(peer, options = {}) {
    const call = this.#new({ peer });
    call.place(options);
    return call;
  }

  /** Bring a call of another device of the user here. @param {CallElsewhere} there @returns {Call} */
  take(there) {
    const call = this.#new({ peer: there.peer_id, id: there.call_id, name: there.from_name });
    this.#showElsewhere(this.elsewhere);
    this.#link.holdOthers(call).then(() => call.restore({ state: "calling" }));
    return call;
  }

  /** What a page that goes writes down, for `restore` after a reload. The gateway keeps the calls for a moment. */
  suspend() {
    if (this.calls.length) this.#rpc.notify("call.leave");
    return this.calls.map((call) => call.saved()).filter(Boolean);
  }

  /** Take up, once signed in, the calls that `suspend` gave. */
  restore(saved) {
    this.#returning = saved.filter(({ savedAt }) => Date.now() - savedAt < RESTORE_MS);
    return this.#returning.length > 0;
  }

  /** End every call; what rings here rings on at the user's other devices. */
  leave(ringing = "unavailable") {
    for (const call of [...this.calls]) call.hangUp(call.state === "incoming" ? ringing : undefined);
  }

  /** One request of docs/json-rpc.md. Rejects with RpcError. */
  request(method, params = {}) {
    return this.#rpc.request(method, params);
  }

  #takeUp(saved) {
    this.#new(saved).restore(saved);
  }

  /** @returns {Call} */
  #new(from) {
    const call = new Call(this.#link, from);
    this.calls = [...this.calls, call];
    call.addEventListener("change", () => this.#emit("calls"));
    call.addEventListener("trouble", ({ detail }) => this.#emit("trouble", { call, error: detail }));
    this.#emit("calls");
    return call;
  }

  /** What the calls ask of us (see Call). */
  #link = {
    request: (method, params) => this.#rpc.request(method, params),
    notify: (method, params) => this.#rpc.notify(method, params),
    isOpen: () => this.#rpc.isOpen,
    iceServers: () => this.#servers(),
    microphone: () => this.#constraints(),
    holdOthers: async (call) => {
      const others = this.calls.filter((other) => other !== call && other.state === "talking" && !other.held);
      await Promise.all(others.map((other) => other.setHeld(true)));
    },
    ended: (call, detail) => {
      this.calls = this.calls.filter((other) => other !== call);
      if (detail.cause !== "gone") this.#emit("end", detail);
      this.#emit("calls");
    },
  };

  #constraints() {
    const on = !this.#raw;
    const device = this.microphone && { deviceId: { ideal: this.microphone } };
    return { echoCancellation: on, noiseSuppression: on, autoGainControl: on, ...device };
  }

  async #servers() {
    if (!this.#iceServers || Date.now() - this.#iceServers.at > ICE_SERVERS_MS) {
      const token = await this.token().catch(() => "");
      const headers = token ? { Authorization: `Bearer ${token}` } : {};
      const servers = await fetch(new URL("iceservers", this.#base), { headers })
        .then((response) => (response.ok ? response.json() : []))
        .catch(() => []);
      this.#iceServers = { at: Date.now(), servers };
    }
    return this.#iceServers.servers;
  }

  // What the gateway tells.

  #notified(method, params) {
    if (method === "call.elsewhere") {
      this.#showElsewhere(params.calls);
      return;
    }
    const peer = params.from_peer_id ?? params.peer_id;
    const call = params.call_id
      ? this.calls.find(({ id }) => id === params.call_id)
      : this.calls.find((other) => !other.id && other.peer === peer);
    if (call) call.notified(method, params);
    else if (method === "offer") this.#offered(params);
    else if (!params.call_id) this.#emit("notification", { method, params });
  }

  #offered({ from_peer_id: peer, call_id: id = "", from_name: name, sdp, update }) {
    if (update) return;
    const call = this.#new({ peer, incoming: true, id, name: name || "", offer: sdp });
    this.#emit("incoming", call);
  }

  async #askElsewhere() {
    if (this.user.guest) return;
    const answer = await this.#rpc.request("call.list", { all: true }).catch(() => null);
    if (answer) this.#showElsewhere(answer.calls.filter(({ here, state }) => !here && state === "answered"));
  }

  #showElsewhere(calls) {
    // A call that is on its way here is still the other device's for a moment.
    this.elsewhere = calls.filter(({ call_id: id }) => !this.calls.some((call) => call.id === id));
    this.#emit("elsewhere");
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
