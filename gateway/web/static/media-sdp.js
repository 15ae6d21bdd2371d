// What a call reads from session descriptions and writes into them: directions of media sections (RFC 3264, RFC 8829).

const DIRECTION = /^a=(sendrecv|sendonly|recvonly|inactive)\r?$/m;
/** @type {Record<string, string>} the answers to an offer's directions that go on receiving */
const RECEIVING = { sendrecv: "sendrecv", recvonly: "sendonly" };
/** @type {Record<string, string>} a direction without sending as one with it */
const SHOWING = { recvonly: "sendrecv", inactive: "sendonly" };

/** The session part and each media section. @param {string} sdp */
function sections(sdp) {
  return sdp.split(/^(?=m=)/m);
}

/** @param {string} sdp @param {(section: string) => string} change what becomes of each media section */
function eachSection(sdp, change) {
  return sections(sdp)
    .map((section) => (section.startsWith("m=") ? change(section) : section))
    .join("");
}

/**
 * An offer that holds (RFC 3264 section 8.4), though the browser's transceivers go on as they are: Chromium never plays
 * a track again whose direction was taken away and given back.
 * @param {string} offer
 */
export function holding(offer) {
  return eachSection(offer, (section) => section.replace(/^a=sendrecv/m, "a=sendonly").replace(/^a=recvonly/m, "a=inactive"));
}

/**
 * The answer to `holding`, as one to the offer that the browser made.
 * @param {string} answer @param {string} offer the browser's own
 */
export function unholding(answer, offer) {
  return stillReceiving(answer, offer, () => true);
}

/**
 * An answer without the news that no picture comes: the picture that comes again would not be played, as above.
 * @param {string} answer @param {string} offer the browser's own
 */
export function pictured(answer, offer) {
  return stillReceiving(answer, offer, isVideo);
}

/** @param {string} answer @param {string} offer @param {(section: string) => boolean} meant */
function stillReceiving(answer, offer, meant) {
  const offered = sections(offer);
  return sections(answer)
    .map((section, place) => {
      const now = RECEIVING[offered[place]?.match(DIRECTION)?.[1] ?? ""];
      return now && meant(section) ? section.replace(/^a=(recvonly|inactive)/m, `a=${now}`) : section;
    })
    .join("");
}

/** An offer without that news. @param {string} offer */
export function picturing(offer) {
  return eachSection(offer, (section) => (isVideo(section) ? section.replace(/^a=(recvonly|inactive)/m, (_, was) => `a=${SHOWING[was]}`) : section));
}

/** The answer to `picturing`, as one to the offer that was made. @param {string} answer @param {string} offer the other side's */
export function unpicturing(answer, offer) {
  const offered = sections(offer);
  return sections(answer)
    .map((section, place) => {
      const isUnseen = isVideo(section) && /^a=(recvonly|inactive)\r?$/m.test(offered[place] ?? "");
      return isUnseen ? section.replace(/^a=sendrecv/m, "a=sendonly").replace(/^a=recvonly/m, "a=inactive") : section;
    })
    .join("");
}

/** @param {string} section */
function isVideo(section) {
  return /^m=video [1-9]/.test(section);
}

/** Whether the other side holds the call by this offer: it wants nothing to hear. @param {string} offer */
export function isHolding(offer) {
  const audio = sections(offer).find((section) => section.startsWith("m=audio"));
  return ["sendonly", "inactive"].includes(audio?.match(DIRECTION)?.[1] ?? "");
}

/** Whether who says this shows us something. @param {string} sdp */
export function hasVideo(sdp) {
  return sections(sdp).some((section) => isVideo(section) && /^a=(sendrecv|sendonly)\r?$/m.test(section));
}

/** Which certificates a description names: with others the gateway's end of the connection is another one. @param {string} sdp */
export function certificates(sdp) {
  return [...new Set(sdp.match(/^a=fingerprint:.*$/gm))].sort().join();
}

/** Whether the gateway offers no address but loopback, which Firefox never uses. @param {string} [sdp] */
export function isLoopbackOnly(sdp) {
  const candidates = sdp?.match(/^a=candidate:.*$/gm) ?? [];
  return candidates.length > 0 && candidates.every((line) => /^(127\.|::1$)/.test(line.split(" ")[4]));
}
