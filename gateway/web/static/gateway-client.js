// The gateway's client, usable alone: signing in, one WebSocket that comes back by itself, any number of calls.
// docs/gateway-client.md says how; the softphone page is built on it.

import { Call } from "./call.js";
import { CameraError, MicrophoneError } from "./call-media.js";
import { TextError } from "./call-text.js";
import { Emitter } from "./events.js";
import { IceServers } from "./ice-servers.js";
import { Registration } from "./registration.js";
import { RpcError, RpcSocket } from "./rpc.js";
import { Session, SignInError } from "./session.js";

export { Call, CameraError, MicrophoneError, RpcError, SignInError, TextError };

const RESTORE_MS = 30_000;

/**
 * @typedef {import("./registration.js").Connection} Connection
 * @typedef {import("./registration.js").User} User
 * @typedef {{call_id: string, peer_id: string, from_name: string, state: string, video: boolean, camera: boolean}} CallElsewhere
 * @typedef {import("./call-return.js").Kept} Kept
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
export class GatewayClient extends Emitter {
  /** @type {Call[]} every call that has not ended, the oldest first */
  calls = [];
  /** @type {CallElsewhere[]} answered calls of the user's other devices: `take` brings one here */
  elsewhere = [];
  /** Ids of the microphone and the camera to use, "" for the system's choice. */
  microphone = "";
  camera = "";

  #base;
  #rpc;
  #session;
  #registration;
  #raw;
  #iceServers;
  /** @type {Kept[]} */
  #returning = [];
  /** @type {Map<string, string | undefined>} calls that ended while the gateway could not be told, and why */
  #farewells = new Map();

  /**
   * @param {URL | string} base where the gateway's paths begin: by default the folder of the page
   * @param {{raw?: boolean}} options `raw` leaves the microphone as it is: no echo cancelling, no noise suppression
   */
  constructor(base = new URL(".", location.href), { raw = false } = {}) {
    super();
    this.#base = new URL(base);
    this.#raw = raw;
    this.#session = new Session(this.#base);
    this.#iceServers = new IceServers(new URL("iceservers", this.#base), () => this.token());
    const endpoint = new URL("rpc", this.#base);
    endpoint.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";
    this.#rpc = new RpcSocket(endpoint.href);
    this.#registration = new Registration(this.#session, this.#rpc, this);
    this.#registration.addEventListener("connection", ({ detail }) => this.#connectionIs(detail));
    this.#registration.addEventListener("refused", ({ detail }) => {
      this.leave("unavailable");
      this.#farewells.clear();
      this.elsewhere = [];
      this.#emit("refused", detail);
    });
    this.#rpc.addEventListener("notification", ({ detail }) => this.#notified(detail.method, detail.params ?? {}));
  }

  // Who.

  /** @returns {Connection} */
  get connection() {
    return this.#registration.connection;
  }

  /** @returns {User | null} who is signed in */
  get user() {
    return this.#registration.user;
  }

  /** With a password. What becomes of it is told by "connection" or "refused". @param {string} name @param {string} password */
  async signIn(name, password) {
    await this.#registration.enter({ name, guest: false }, () => this.#session.signIn(name, password));
  }

  /** By the site's own means. */
  async signInBySite() {
    await this.#registration.enter({ name: "", guest: false, resumed: true }, () => this.#session.site());
  }

  /** How people sign in here beside a password: see Session. */
  ways() {
    return this.#session.ways();
  }

  /** By the cookie of an earlier visit, `name` "": whoever that was. @param {string} name */
  async resume(name) {
    await this.#registration.enter({ name, guest: false, resumed: true, again: true }, () => this.#session.resume());
  }

  /** Without an account. `again`: the name was ours a moment ago (a reload). @param {string} name @param {{again?: boolean}} [options] */
  async enterAsGuest(name, { again = false } = {}) {
    await this.#registration.enter({ name, guest: true, again });
  }

  /** End the calls, forget who it was. */
  signOut() {
    this.leave("unavailable");
    this.#farewells.clear();
    this.elsewhere = [];
    this.#registration.end();
  }

  /** A token for HTTP requests in the user's name, "" for a guest. */
  async token() {
    return this.#registration.token();
  }

  /** @param {Connection} connection */
  async #connectionIs(connection) {
    if (connection !== "online") for (const call of [...this.calls]) call.cut();
    this.#emit("connection", connection);
    if (connection !== "online") return;
    this.#sayFarewells();
    for (const call of [...this.calls]) call.reattach();
    for (const saved of this.#returning.splice(0)) this.#takeUp(saved);
    await this.#askElsewhere();
  }

  /** End the calls that wait at the gateway for somebody who has left them. */
  #sayFarewells() {
    if (this.connection !== "online") return;
    for (const [id, reason] of this.#farewells) this.request("call.hangup", { call_id: id, reason }).catch(() => {});
    this.#farewells.clear();
  }

  // Calls.

  /**
   * Call a number, a name or a SIP address; other calls are held.
   * @param {string} peer
   * @param {{listenOnly?: boolean, video?: boolean, text?: boolean, name?: string}} options `listenOnly` does without a
   *   microphone, `video` shows what the camera sees, `text` asks for text, `name` is who that is
   * @returns {Call}
   */
  dial(peer, { name = "", ...options } = {}) {
    const call = this.#new({ peer, name });
    call.place(options);
    return call;
  }

  /**
   * Have the other sides of calls meet in a room, and be there, too. Rejects with RpcError where none could be moved; then
   * what is left of the calls goes on.
   * @param {Call[]} calls two or more that are talked in @param {string} name what the new call is called
   * @returns {Promise<Call>}
   */
  async merge(calls, name = "") {
    for (const call of calls) call.merging(true);
    const goOn = () => calls.forEach((call) => call.merging(false)); // those that could not be moved
    try {
      const { to_peer_id: room } = await this.request("call.merge", { call_ids: calls.map(({ id }) => id) });
      const joined = this.dial(room, { name });
      for (const event of ["change", "end"]) {
        joined.addEventListener(event, () => ["talking", "ended"].includes(joined.state) && goOn());
      }
      return joined;
    } catch (error) {
      goOn();
      throw error;
    }
  }

  /** Bring a call of another device of the user here. @param {CallElsewhere} there @returns {Call} */
  take(there) {
    const call = this.#new({ peer: there.peer_id, id: there.call_id, name: there.from_name });
    this.#showElsewhere(this.elsewhere);
    call.addEventListener("end", () => this.#askElsewhere()); // it may be there still
    this.#link.holdOthers(call).then(() => call.restore({ state: "calling", video: there.camera, seen: there.video }));
    return call;
  }

  /** What a page that goes writes down, for `restore` after a reload. The gateway keeps the calls for a moment. */
  suspend() {
    if (this.calls.length) this.#rpc.notify("call.leave");
    return this.calls.flatMap((call) => call.saved() ?? []);
  }

  /** Take up, once signed in, the calls that `suspend` gave. @param {Kept[]} saved */
  restore(saved) {
    this.#returning = saved.filter(({ savedAt }) => Date.now() - savedAt < RESTORE_MS);
    return this.#returning.length > 0;
  }

  /** End every call; what rings here rings on at the user's other devices. */
  leave(ringing = "unavailable") {
    for (const call of [...this.calls]) call.hangUp(call.state === "incoming" ? ringing : undefined);
  }

  /** One request of docs/json-rpc.md. Rejects with RpcError. @param {string} method @param {object} [params] @returns {Promise<any>} */
  request(method, params = {}) {
    return this.#rpc.request(method, params);
  }

  /** @param {Kept} saved */
  #takeUp(saved) {
    this.#new(saved).restore(saved);
  }

  /** @param {import("./call-base.js").Origin} from @returns {Call} */
  #new(from) {
    const call = new Call(this.#link, from);
    this.calls = [...this.calls, call];
    call.addEventListener("change", () => this.#emit("calls"));
    call.addEventListener("trouble", ({ detail }) => this.#emit("trouble", { call, error: detail }));
    this.#emit("calls");
    return call;
  }

  /** What the calls ask of us (see Call). @type {import("./call-base.js").Link} */
  #link = {
    request: (method, params) => this.#rpc.request(method, params),
    notify: (method, params) => this.#rpc.notify(method, params),
    isOpen: () => this.#rpc.isOpen,
    endAway: (id, reason) => {
      this.#farewells.set(id, reason);
      this.#sayFarewells();
    },
    iceServers: () => this.#iceServers.now(),
    microphone: () => this.#constraints(),
    camera: () => ({ width: { ideal: 1280 }, height: { ideal: 720 }, ...(this.camera && { deviceId: { ideal: this.camera } }) }),
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

  // What the gateway tells.

  /** @param {string} method @param {any} params */
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

  /** @param {{from_peer_id: string, call_id?: string, from_name?: string, verified?: import("./call-fields.js").Verdict, sdp: string, update?: boolean}} offer */
  #offered({ from_peer_id: peer, call_id: id = "", from_name: name, verified, sdp, update }) {
    if (update) return;
    const call = this.#new({ peer, incoming: true, id, name: name || "", verified, offer: sdp });
    this.#emit("incoming", call);
  }

  async #askElsewhere() {
    if (!this.user || this.user.guest) return;
    /** @type {{calls: (CallElsewhere & {here: boolean})[]} | null} */
    const answer = await this.#rpc.request("call.list", { all: true }).catch(() => null);
    if (answer) this.#showElsewhere(answer.calls.filter(({ here, state }) => !here && state === "answered"));
  }

  /** @param {CallElsewhere[]} calls */
  #showElsewhere(calls) {
    // A call that is on its way here is still the other device's for a moment.
    this.elsewhere = calls.filter(({ call_id: id }) => !this.calls.some((call) => call.id === id));
    this.#emit("elsewhere");
  }

  /** @param {string} name @param {unknown} [detail] */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
