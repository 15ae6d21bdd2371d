// JSON-RPC 2.0 over WebSocket: requests as promises, notifications as events, reconnecting by itself.

import { Emitter } from "./events.js";

const REQUEST_MS = 30_000;
const FIRST_DELAY_MS = 400;
const LAST_DELAY_MS = 10_000;
const ELSEWHERE_MS = 2_000; // until whoever shares the pages out has seen that a gateway drains
const BEAT_MS = 5_000; // a socket that does not answer a ping for as long is dead

export class RpcError extends Error {
  /** @param {{code: number, message: string, data?: Record<string, any>}} error */
  constructor({ code, message, data = {} }) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** Events: "open", "close", and "notification" with detail {method, params}. */
export class RpcSocket extends Emitter {
  #url;
  /** @type {WebSocket | null} */
  #socket = null;
  #wanted = false;
  #delay = FIRST_DELAY_MS;
  #timer = 0;
  #pulse = 0;
  #id = 0;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: RpcError) => void, timer: number}>} */
  #pending = new Map();

  /** @param {string} url */
  constructor(url) {
    super();
    this.#url = url;
    // Do not sit out the delay when the network is back.
    addEventListener("online", () => this.#wanted && !this.#socket && this.#connect());
  }

  open() {
    this.#wanted = true;
    if (!this.#socket) this.#connect();
  }

  close() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return;
    socket.close(1000);
    this.#lost(socket);
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** The connection is good: the next loss is retried quickly again. */
  settled() {
    this.#delay = FIRST_DELAY_MS;
  }

  /** Drop the connection and try again after the usual, growing delay. */
  retry() {
    this.#socket?.close(1000);
  }

  /** Rejects with RpcError. @param {string} method @param {object} [params] @returns {Promise<any>} */
  request(method, params = {}) {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new RpcError({ code: 0, message: "Not connected" }));
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(id, { error: { code: 0, message: "No response in time" } }), REQUEST_MS);
      this.#pending.set(id, { resolve, reject, timer });
      socket.send(JSON.stringify({ jsonrpc: "2.0", method, params, id }));
    });
  }

  /** @param {string} method @param {object} [params] */
  notify(method, params = {}) {
    if (this.isOpen) this.#socket?.send(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  #connect() {
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#beat(socket);
      this.dispatchEvent(new Event("open"));
    });
    socket.addEventListener("message", (event) => this.#receive(event.data));
    socket.addEventListener("close", () => this.#lost(socket));
  }

  /** TCP says nothing of a network that has gone: ask, and do not wait for long. @param {WebSocket} socket */
  #beat(socket) {
    clearTimeout(this.#pulse);
    this.#pulse = setTimeout(async () => {
      if (socket !== this.#socket) return;
      const late = setTimeout(() => this.#drop(socket), BEAT_MS);
      await this.request("ping").catch(() => {});
      clearTimeout(late);
      this.#beat(socket);
    }, BEAT_MS);
  }

  /** @param {WebSocket} socket */
  #drop(socket) {
    socket.close();
    this.#lost(socket); // its own event may take the browser a minute
  }

  /** @param {string} text */
  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (message.method) {
      if (message.method === "server.draining") this.#delay = Math.max(this.#delay, ELSEWHERE_MS);
      this.dispatchEvent(new CustomEvent("notification", { detail: message }));
    } else {
      this.#settle(message.id, message);
    }
  }

  /** @param {number} id @param {{result?: any, error?: {code: number, message: string}}} response */
  #settle(id, { result, error }) {
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    this.#pending.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(new RpcError(error));
    else waiting.resolve(result);
  }

  /** @param {WebSocket} socket */
  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#pulse);
    for (const id of [...this.#pending.keys()]) {
      this.#settle(id, { error: { code: 0, message: "Connection lost" } });
    }
    this.dispatchEvent(new Event("close"));
    if (!this.#wanted) return;
    this.#timer = setTimeout(() => this.#connect(), this.#delay * (0.7 + Math.random() * 0.6));
    this.#delay = Math.min(this.#delay * 2, LAST_DELAY_MS);
  }
}
