// Contacts: who is signed in at the gateway and whom one has added, with their presence; and what was written.

import { Emitter } from "./events.js";

const KEPT_CONTACTS = "softphone.contacts.";
const KEPT_MESSAGES = "softphone.messages.";
const MESSAGES = 50; // of one conversation
const CONVERSATIONS = 30;
const PAUSE_MS = 70; // between two questions: the gateway closes the connection of a page that asks faster than it may

function load(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** "sip:Bob@example.com" -> "bob@example.com". */
function contactOf(peer) {
  return peer.trim().replace(/^sips?:/i, "").replace(/[;?].*$/s, "").toLowerCase();
}

/**
 * `presence` is the gateway's word, "" where it is not told.
 * @typedef {{id: string, name: string, presence: string, note: string, own: boolean, unread: boolean}} Contact
 */

/**
 * Events: "change" when anybody or anything written has changed; "message" with detail {contact, name, text} for what
 * somebody else wrote.
 */
export class Contacts extends Emitter {
  #client;
  #own = [];
  #online = new Set();
  #presence = new Map();
  #names = new Map();
  /** @type {Record<string, {id: string, text: string, at: number, ours: boolean, state: string}[]>} */
  #messages = {};
  #unread = new Set();
  #due = new Set(); // whose presence is still to be asked for
  #asking = false;

  /** @param {import("./gateway-client.js").GatewayClient} client */
  constructor(client) {
    super();
    this.#client = client;
    client.addEventListener("notification", ({ detail: { method, params } }) => this.#notified(method, params));
    client.addEventListener("connection", ({ detail: state }) => (state === "online" ? this.#begin() : this.#end()));
    addEventListener("storage", ({ key }) => this.#keptElsewhere(key));
  }

  /** Of each, in order of their names. @returns {Contact[]} */
  list() {
    const ids = new Set([...this.#own, ...this.#online, ...Object.keys(this.#messages)]);
    return [...ids].sort((a, b) => this.#name(a).localeCompare(this.#name(b))).map((id) => {
      const { status = "", note = "" } = this.#presence.get(id) ?? {};
      return { id, name: this.#name(id), presence: status, note, own: this.#own.includes(id), unread: this.#unread.has(id) };
    });
  }

  /** What was written with a contact, the oldest first: {text, at, ours, state}; state "sent", "failed" or "". */
  conversation(id) {
    return this.#messages[id] ?? [];
  }

  add(peer) {
    const id = contactOf(peer);
    this.#load();
    if (!id || this.#own.includes(id)) return;
    this.#own.push(id);
    this.#keep();
    this.#watch(id);
    this.#changed();
  }

  /** Forget a contact and what was written with it. */
  remove(id) {
    this.#load();
    this.#own = this.#own.filter((other) => other !== id);
    delete this.#messages[id];
    this.#unread.delete(id);
    this.#due.delete(id);
    if (!this.#online.has(id)) {
      this.#presence.delete(id);
      this.#client.request("presence.unwatch", { peer_id: id }).catch(() => {});
    }
    this.#keep();
    this.#changed();
  }

  /** The conversation is on the screen. */
  read(id) {
    if (this.#unread.delete(id)) this.#changed();
  }

  /** Write to a contact. Resolves once it is known whether it was taken. */
  async send(id, text) {
    const at = Date.now();
    const line = { id: `${at}-${Math.random()}`, text, at, ours: true, state: "" };
    this.#write(id, line);
    const sending = this.#client.request("message.send", { to_peer_id: id, text });
    line.state = await sending.then(() => "sent", () => "failed");
    this.#load();
    const kept = this.conversation(id).find((other) => other.id === line.id);
    if (kept) kept.state = line.state;
    this.#keep();
    this.#changed();
  }

  async #begin() {
    const { name, guest } = this.#client.user;
    if (guest) return;
    this.#load();
    const { peers } = await this.#client.request("list_peers").catch(() => ({ peers: [] }));
    this.#online = new Set(peers.map(({ peer_id: id }) => id).filter((id) => id !== name));
    for (const id of new Set([...this.#own, ...this.#online])) this.#watch(id);
    this.#changed();
  }

  #end() {
    this.#due.clear();
    this.#online.clear();
    this.#presence.clear();
    if (!this.#client.user) {
      this.#own = [];
      this.#messages = {};
      this.#unread.clear();
    }
    this.#changed();
  }

  /** Ask for somebody's presence: one after the other, however many there are. */
  async #watch(id) {
    this.#due.add(id);
    if (this.#asking) return;
    this.#asking = true;
    for (const next of this.#due) {
      this.#due.delete(next);
      const found = await this.#client.request("presence.watch", { peer_id: next }).catch(() => null);
      if (found) this.#presence.set(next, found);
      this.#changed();
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
    this.#asking = false;
  }

  #notified(method, params) {
    const id = params.peer_id;
    const handlers = {
      peer_joined: () => {
        this.#online.add(id);
        this.#watch(id);
      },
      peer_left: () => this.#online.delete(id),
      presence: () => this.#presence.set(id, params),
      message: () => this.#received(params),
    };
    if (!(method in handlers) || !this.#client.user || this.#client.user.guest) return;
    handlers[method]();
    this.#changed();
  }

  #received({ message_id: message, from_peer_id: from, from_user: user, from_name: name, content_type: type, text, timestamp: at }) {
    if (!/^text\/plain\b/.test(type)) return;
    // Only the gateway can say that it is one of its users: anybody elsewhere may have the same name.
    const id = user ?? contactOf(from);
    if (name) this.#names.set(id, name);
    this.#write(id, { id: message, text, at, ours: false, state: "" });
    this.#unread.add(id);
    this.dispatchEvent(new CustomEvent("message", { detail: { contact: id, name: this.#name(id), text } }));
  }

  /** Once only: every open page of the user is told of what is received. */
  #write(id, line) {
    this.#load();
    if (this.conversation(id).some((other) => other.id === line.id)) return;
    this.#messages[id] = [...this.conversation(id), line].slice(-MESSAGES);
    const latest = ([, lines]) => lines.at(-1).at;
    const all = Object.entries(this.#messages).sort((a, b) => latest(b) - latest(a));
    this.#messages = Object.fromEntries(all.slice(0, CONVERSATIONS));
    this.#keep();
    this.#changed();
  }

  #name(id) {
    return this.#names.get(id) ?? id;
  }

  /** Take what is kept: another page of the user may have changed it. */
  #load() {
    const { name } = this.#client.user ?? {};
    if (!name) return;
    this.#own = load(KEPT_CONTACTS + name, []);
    this.#messages = load(KEPT_MESSAGES + name, {});
  }

  #keptElsewhere(key) {
    const { name, guest } = this.#client.user ?? {};
    if (!name || guest || ![null, KEPT_CONTACTS + name, KEPT_MESSAGES + name].includes(key)) return;
    const known = this.#own;
    this.#load();
    for (const id of this.#own) if (!known.includes(id)) this.#watch(id);
    this.#changed();
  }

  #keep() {
    const { name } = this.#client.user ?? {};
    if (!name) return;
    localStorage.setItem(KEPT_CONTACTS + name, JSON.stringify(this.#own));
    localStorage.setItem(KEPT_MESSAGES + name, JSON.stringify(this.#messages));
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
