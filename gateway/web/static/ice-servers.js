// The STUN and TURN servers that the gateway names, asked for anew once they are a minute old. Made by GatewayClient.

const FRESH_MS = 60_000;

export class IceServers {
  #url;
  #token;
  #at = -Infinity;
  /** @type {RTCIceServer[]} */
  #servers = [];

  /** @param {URL} url @param {() => Promise<string>} token the user's, "" for a guest */
  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  /** None where they cannot be had: many a call goes without. */
  async now() {
    if (Date.now() - this.#at > FRESH_MS) {
      const token = await this.#token().catch(() => "");
      const response = await fetch(this.#url, token ? { headers: { Authorization: `Bearer ${token}` } } : {}).catch(() => null);
      this.#servers = response?.ok ? await response.json().catch(() => []) : [];
      this.#at = Date.now();
    }
    return this.#servers;
  }
}
