// Signing in: the password goes out once; what stays is a cookie no script reads and a token for minutes.

const EARLY_MS = 30_000;

/** Thrown when the name or the password is wrong, or the sign-in has ended. `status` is the HTTP status. */
export class SignInError extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @typedef {{user: string, display_name: string, role: string}} SignedIn */

export class Session {
  #base;
  #token = "";
  #expires = 0;

  /** `base`: where the gateway's paths begin, the page's own folder unless said. */
  constructor(base = new URL(".", location.href)) {
    this.#base = base;
  }

  /** @param {string} user @param {string} password @returns {Promise<SignedIn>} */
  signIn(user, password) {
    return this.#ask("api/session", { user, password });
  }

  /** The sign-in of an earlier visit; rejects with SignInError when there is none. */
  resume() {
    return this.#ask("api/session/refresh", {});
  }

  /** Whom the site knows by its own means; rejects with SignInError when it knows nobody. */
  site() {
    return this.#ask("api/session/site", {});
  }

  /** How people sign in here beside a password. @returns {Promise<{oidc: ?{name: string, path: string}, site: boolean}>} */
  async ways() {
    const response = await fetch(new URL("api/session/ways", this.#base)).catch(() => null);
    const found = response?.ok ? await response.json() : { oidc: null, site: false };
    if (found.oidc) found.oidc.path = new URL(found.oidc.path, this.#base).href;
    return found;
  }

  async signOut() {
    this.#token = "";
    await fetch(new URL("api/session", this.#base), { method: "DELETE" }).catch(() => {});
  }

  /** An access token that is good for a while yet. */
  async token() {
    if (Date.now() > this.#expires - EARLY_MS) await this.resume();
    return this.#token;
  }

  /** @param {string} path @param {object} body @returns {Promise<SignedIn>} */
  async #ask(path, body) {
    const response = await fetch(new URL(path, this.#base), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new SignInError(answer.error ?? `HTTP ${response.status}`, response.status);
    this.#token = answer.access_token;
    this.#expires = Date.now() + answer.expires_in * 1000;
    return answer;
  }
}
