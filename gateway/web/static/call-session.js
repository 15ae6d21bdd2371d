// The offers and answers of a call that is up (RFC 3264): hold, camera and text, one at a time.

import { holding, unholding } from "./media-sdp.js";

const PATIENCE_MS = 10_000;
const AGAIN_MS = 100; // until the other side's offer, which came first, has had our answer
const MOST_TRIES = 30;

export class CallSession {
  /** @type {import("./call-media.js").CallMedia} */
  #media;
  #request;
  #isWaiting = false; // an offer of ours waits for its answer
  /** @type {(done?: unknown) => void} */
  #tell = () => {};
  #ownOffer = ""; // the browser's, where what was sent says that we hold
  /** @type {Promise<unknown>} */
  #described = Promise.resolve(); // descriptions are set one after the other

  /** @param {import("./call-media.js").CallMedia} media @param {(method: string, params: object) => Promise<any>} request */
  constructor(media, request) {
    this.#media = media;
    this.#request = request;
  }

  /** Whether the answer to an offer of ours is still to come. */
  get isChanging() {
    return this.#isWaiting;
  }

  /** Wait for that answer, though not for ever. */
  async settled() {
    if (!this.#isWaiting) return;
    await new Promise((done) => {
      this.#tell = done;
      setTimeout(done, PATIENCE_MS);
    });
  }

  #settle() {
    this.#isWaiting = false;
    this.#tell();
  }

  /** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  #describe(work) {
    const done = this.#described.then(work);
    this.#described = done.catch(() => {});
    return done;
  }

  /** Hold, or go on. Rejects with what went wrong, the session then as it was. @param {boolean} hold @param {string} callId */
  async hold(hold, callId) {
    await this.#sent(async () => {
      const offer = await this.#describe(() => this.#media.offer());
      this.#ownOffer = hold ? offer : "";
      await this.#request(hold ? "call.hold" : "call.resume", { call_id: callId, sdp: hold ? holding(offer) : offer });
    });
  }

  /** Tell the other side of the camera, on or off. Rejects as `hold` does. @param {object} to whom, as `offer` has it */
  async showCamera(to) {
    await this.#sent(async () => {
      await this.#media.showCamera();
      await this.#request("offer", { ...to, sdp: await this.#describe(() => this.#media.offer()), type: "offer" });
    });
  }

  /** Ask the other side for text. Rejects as `hold` does. @param {object} to whom, as `offer` has it */
  async askForText(to) {
    await this.#sent(async () => {
      const { connection, text } = this.#media;
      if (connection) text.ask(connection);
      await this.#request("offer", { ...to, sdp: await this.#describe(() => this.#media.offer()), type: "offer" });
    });
  }

  /** @param {() => Promise<void>} work */
  async #sent(work) {
    this.#isWaiting = true;
    for (let tries = 1; ; tries++) {
      const failure = await work().then(() => null, (error) => error);
      if (!failure) return;
      await this.#describe(() => this.#media.rollBack());
      if (failure.data?.cause !== "glare" || tries === MOST_TRIES) {
        this.#settle();
        throw failure;
      }
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
  }

  /** The offer of a connection that is new, or finds its way anew. @param {RTCOfferOptions} options @returns {Promise<string>} */
  offer(options) {
    this.#ownOffer = "";
    this.#isWaiting = true;
    return this.#describe(() => this.#media.offer(options));
  }

  /** The other side's answer to an offer of ours; "rollback" refuses it. @param {{sdp: string, type: string}} description */
  answered({ sdp, type }) {
    return this.#describe(() => this.#answered(sdp, type));
  }

  /** @param {string} sdp @param {string} type */
  async #answered(sdp, type) {
    if (this.#media.connection?.signalingState !== "have-local-offer") return; // of a connection that is gone
    const own = this.#ownOffer;
    this.#ownOffer = "";
    try {
      if (type === "rollback") await this.#media.rollBack();
      else await this.#media.answered(own ? unholding(sdp, own) : sdp);
    } finally {
      this.#settle();
    }
  }

  /**
   * What is said to an offer of the other side. @param {string} offer
   * @param {boolean} held whether we hold, which every answer has to say
   * @returns {Promise<{sdp?: string, type: string}>}
   */
  answer(offer, held) {
    return this.#describe(() => this.#answer(offer, held));
  }

  /** @param {string} offer @param {boolean} held @returns {Promise<{sdp?: string, type: string}>} */
  async #answer(offer, held) {
    try {
      const isAnew = this.#media.isOfAnother(offer);
      const sdp = await this.#media.answer(offer);
      if (isAnew) this.#settle(); // nobody answers what the connection before has offered
      return { sdp: held ? holding(sdp) : sdp, type: "answer" };
    } catch {
      await this.#media.refuse();
      return { type: "rollback" };
    }
  }
}
