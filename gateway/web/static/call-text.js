// Real-time text of one call: data channels of the protocol "t140" (RFC 8865), and what is to be read of them. Made by CallMedia.

const PROTOCOL = "t140";
const MOST_LINES = 500;
const LONGEST_LINE = 2000; // characters; a longer one is broken
const MOST_KEPT = 100; // lines over a reload
const NEW_LINE = "\u2028";
// Control characters, C1 as well, the mark that a session begins with, and what turns other text.
const UNSEEN = /[\p{Cc}\ufeff\u202a-\u202e\u2066-\u2069]/u;

/** The other side takes no text. */
export class TextError extends Error {
  name = "refused";
}

/** @typedef {{own: boolean, text: string}} Line */
/** @typedef {{lines: Line[], theirs: string, own: string, read: number}} Typed `read`: characters that came in all */

/** Event "change": what is to be read has changed, or whether there is text at all. */
export class CallText extends EventTarget {
  /** @type {Line[]} lines that are finished, the oldest first */
  lines = [];
  /** What the other side is typing. */
  theirs = "";
  /** What we are typing. */
  own = "";
  /** We asked for text, and the other side takes none. */
  refused = false;

  /** @type {RTCDataChannel[]} */
  #channels = [];
  #asked = false;
  #isOurs = false; // the channel that was there last was opened by us, and not by the gateway
  #read = 0; // characters of theirs
  #isRestored = false;
  #wasReturn = false; // the last character of theirs was CR, of which LF is a part

  /** Whether the other side can be typed to. */
  get isOpen() {
    return this.#channels.some(({ readyState }) => readyState === "open");
  }

  /** Whether there is a channel, or one on its way. */
  get isKept() {
    return this.#channels.some(({ readyState }) => readyState === "open" || readyState === "connecting");
  }

  /** What is to be read, for after a reload. @returns {Typed} */
  get typed() {
    const { lines, theirs, own } = this;
    return { lines: lines.slice(-MOST_KEPT), theirs, own, read: this.#read };
  }

  /** It was to be read before a reload. @param {Typed} typed */
  restore({ lines, theirs, own, read }) {
    Object.assign(this, { lines, theirs, own });
    this.#read = read;
    this.#isRestored = true;
    this.#changed();
  }

  /**
   * A description with how much was read before, over other connections: what came while a page went is sent again.
   * @param {string} description
   */
  stating(description) {
    return this.#read || this.#isRestored ? description.replace(/^a=sctp-port:.*\r\n/m, `$&a=t140-read:${this.#read}\r\n`) : description;
  }

  /** Take what the other side opens. @param {RTCPeerConnection} connection */
  listen(connection) {
    connection.addEventListener("datachannel", ({ channel }) => {
      if (channel.protocol !== PROTOCOL) return;
      this.#isOurs = false;
      this.#take(channel);
    });
  }

  /**
   * Ask for text; an offer tells the other side. Where the connection has data channels already, the gateway opens the one
   * for text once that side takes it. @param {RTCPeerConnection} connection
   */
  ask(connection) {
    this.#asked = true;
    this.refused = false;
    if (!connection.sctp) this.#open(connection);
  }

  /** There was a channel by the connection before this one: what we had opened is opened again. @param {RTCPeerConnection} connection */
  move(connection) {
    this.#channels = this.#channels.filter(({ readyState }) => readyState === "connecting");
    if (this.#isOurs) this.#open(connection);
    this.#changed();
  }

  /** @param {RTCPeerConnection} connection */
  #open(connection) {
    this.#isOurs = true;
    this.#take(connection.createDataChannel("text", { protocol: PROTOCOL }));
  }

  /** Ask no more. */
  giveUp() {
    if (this.isOpen) return;
    for (const channel of this.#channels) channel.close();
    this.#channels = [];
    this.#closed();
  }

  /** The line that we are typing reads so now: what was not in it is sent, what is no more in it taken back. @param {string} line */
  write(line) {
    if (!this.isOpen) return;
    const before = Array.from(this.own);
    const now = Array.from(line);
    let same = 0;
    while (same < before.length && before[same] === now[same]) same += 1;
    const text = "\b".repeat(before.length - same) + now.slice(same).join("");
    this.own = line;
    if (text) this.#send(text);
  }

  /** The line that we are typing is finished. */
  finish() {
    if (!this.isOpen) return;
    this.#send(NEW_LINE);
    this.#add({ own: true, text: this.own });
    this.own = "";
    this.#changed();
  }

  /** @param {string} text */
  #send(text) {
    this.#channels.findLast(({ readyState }) => readyState === "open")?.send(text);
  }

  /** @param {RTCDataChannel} channel */
  #take(channel) {
    this.#channels.push(channel);
    channel.binaryType = "arraybuffer";
    const decoder = new TextDecoder();
    channel.addEventListener("open", () => this.#opened());
    channel.addEventListener("close", () => this.#closed());
    channel.addEventListener("message", ({ data }) => this.#heard(typeof data === "string" ? data : decoder.decode(data, { stream: true })));
    if (channel.readyState === "open") this.#opened();
  }

  #opened() {
    this.#changed();
  }

  #closed() {
    this.#channels = this.#channels.filter(({ readyState }) => readyState === "connecting" || readyState === "open");
    if (this.#asked && !this.#channels.length && !this.lines.length && !this.theirs) this.refused = true;
    this.#changed();
  }

  /** What the other side has typed, character by character (ITU-T T.140). @param {string} text */
  #heard(text) {
    this.#asked = false;
    for (const character of text) {
      this.#read += 1;
      const isReturn = character === "\r";
      if (character === "\b") this.#erase();
      else if (isReturn || character === NEW_LINE || (character === "\n" && !this.#wasReturn)) this.#finishTheirs();
      else if (!UNSEEN.test(character)) this.theirs += character;
      this.#wasReturn = isReturn;
      if (this.theirs.length >= LONGEST_LINE) this.#finishTheirs();
    }
    this.#changed();
  }

  #erase() {
    const last = this.lines.at(-1);
    if (!this.theirs && last && !last.own) {
      this.theirs = last.text;
      this.lines.pop();
    } else this.theirs = Array.from(this.theirs).slice(0, -1).join("");
  }

  #finishTheirs() {
    this.#add({ own: false, text: this.theirs });
    this.theirs = "";
  }

  /** @param {Line} line */
  #add(line) {
    this.lines.push(line);
    if (this.lines.length > MOST_LINES) this.lines.shift();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
