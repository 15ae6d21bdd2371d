// What a call reads from session descriptions and writes into them: directions of media sections (RFC 3264, RFC 8829).

const DIRECTION = /^a=(sendrecv|sendonly|recvonly|inactive)\r?$/m;

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
  const offered = sections(offer);
  return sections(answer)
    .map((section, place) => {
      const was = offered[place]?.match(DIRECTION)?.[1];
      return section.replace(/^a=(recvonly|inactive)/m, was === "sendrecv" ? "a=sendrecv" : was === "recvonly" ? "a=sendonly" : "a=$1");
    })
    .join("");
}

/** Whether the other side holds the call by this offer: it wants nothing to hear. @param {string} offer */
export function isHolding(offer) {
  const audio = sections(offer).find((section) => section.startsWith("m=audio"));
  return ["sendonly", "inactive"].includes(audio?.match(DIRECTION)?.[1] ?? "");
}

/** Whether somebody wants to show us something by this offer. @param {string} offer */
export function hasVideo(offer) {
  return sections(offer).some((section) => /^m=video [1-9]/.test(section) && /^a=(sendrecv|sendonly)\r?$/m.test(section));
}

/** Whether the gateway offers no address but loopback, which Firefox never uses. @param {string} [sdp] */
export function isLoopbackOnly(sdp) {
  const candidates = sdp?.match(/^a=candidate:.*$/gm) ?? [];
  return candidates.length > 0 && candidates.every((line) => /^(127\.|::1$)/.test(line.split(" ")[4]));
}
