// The calls of one user in this browser: kept over a reload, the oldest given up first.

const LIMIT = 100;

export class History {
  #key = "";
  #storage = sessionStorage;

  /** Users' calls stay in this browser, guests' in this tab. */
  open(user, guest) {
    this.#key = `softphone.history.${user}`;
    this.#storage = guest ? sessionStorage : localStorage;
  }

  /** Newest first: {peer, name, incoming, startedAt, answeredAt, outcome}; outcome "taken", "missed", "elsewhere". */
  entries() {
    try {
      return JSON.parse(this.#storage.getItem(this.#key) ?? "[]");
    } catch {
      return [];
    }
  }

  add({ peer, name, incoming, startedAt, answeredAt }, outcome) {
    if (!this.#key) return;
    const entries = [{ peer, name, incoming, startedAt, answeredAt, outcome }, ...this.entries()].slice(0, LIMIT);
    this.#storage.setItem(this.#key, JSON.stringify(entries));
  }

  clear() {
    this.#storage.removeItem(this.#key);
  }
}
