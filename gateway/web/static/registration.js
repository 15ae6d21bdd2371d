// Who is signed in, over all reconnections of the socket. Made by GatewayClient.

import { Emitter } from "./events.js";
import { SignInError } from "./session.js";

/**
 * @typedef {"offline" | "connecting" | "online"} Connection
 * @typedef {{name: string, guest: boolean}} User
 * @typedef {object} Wanted who is to be signed in
 * @property {string} name
 * @property {boolean} guest
 * @property {boolean} [resumed] by the cookie of an earlier visit
 * @property {boolean} [again] the name was ours a moment ago (a reload)
 */

/** Events: "connection" with detail Connection; "refused" with detail {reason, message, guest}. */
export class Registration extends Emitter {
  /** @type {Connection} */
  connection = "offline";
  /** @type {User | null} */
  user = null;

  #session;
  #rpc;
  /** @type {Wanted | null} */
  #wanted = null;
  #wasOnline = false; // this name is ours, perhaps on an earlier connection
  #ends = false; // the gateway takes no new calls any more
  #client;

  /**
   * @param {import("./session.js").Session} session
   * @param {import("./rpc.js").RpcSocket} rpc
   * @param {EventTarget & {calls: unknown[]}} client tells "calls"
   */
  constructor(session, rpc, client) {
    super();
    this.#session = session;
    this.#rpc = rpc;
    this.#client = client;
    rpc.addEventListener("open", () => this.#announce());
    rpc.addEventListener("close", () => {
      this.#ends = false;
      if (this.#wanted) this.#become("connecting");
    });
    rpc.addEventListener("notification", ({ detail }) => {
      if (detail.method !== "server.draining") return;
      this.#ends = true;
      this.#goElsewhere();
    });
    client.addEventListener("calls", () => this.#goElsewhere());
  }

  /** Leave a gateway that ends once no call is up: behind one address there may be another. */
  #goElsewhere() {
    if (this.#ends && !this.#client.calls.length) this.#rpc.retry();
  }

  /** Be signed in from now on. @param {Wanted} who @param {() => Promise<{user: string} | void>} prove rejects with SignInError */
  async enter(who, prove = async () => {}) {
    this.#wanted = who;
    this.#wasOnline = Boolean(who.again);
    this.#become("connecting");
    try {
      const proved = await prove();
      who.name ||= proved?.user ?? "";
    } catch (error) {
      if (this.#wanted === who) this.#notSignedIn(error);
      return;
    }
    if (this.#wanted === who) this.#rpc.open();
  }

  /** Be signed in no more. */
  end() {
    if (this.#wanted && !this.#wanted.guest) this.#session.signOut();
    this.#wanted = this.user = null;
    this.#wasOnline = false;
    this.#rpc.close();
    this.#become("offline");
  }

  /** A token for HTTP requests in the user's name, "" for a guest. */
  async token() {
    return !this.#wanted || this.#wanted.guest ? "" : this.#session.token();
  }

  async #announce() {
    const who = this.#wanted;
    if (!who) return;
    try {
      const token = who.guest ? "" : await this.#session.token();
      const capabilities = { audio: true, video: true, data: false };
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
  }

  /** @param {any} error @param {Wanted} who */
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

  /** @param {any} error */
  #notSignedIn(error) {
    const known = error instanceof SignInError;
    const wrong = known && error.status === 401;
    this.#leaveWith(wrong ? (this.#wanted?.resumed || this.user ? "session" : "password") : known ? "error" : "offline", error.message);
  }

  /** @param {string} reason @param {string} message */
  #leaveWith(reason, message) {
    const guest = Boolean(this.#wanted?.guest);
    this.end();
    this.dispatchEvent(new CustomEvent("refused", { detail: { reason, message, guest } }));
  }

  /** @param {Connection} connection */
  #become(connection) {
    if (connection === this.connection) return;
    this.connection = connection;
    this.dispatchEvent(new CustomEvent("connection", { detail: connection }));
  }
}
