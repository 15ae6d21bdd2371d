// Everything the page says about why a call ended or could not be made.

const CAUSES = {
  normal: "The call ended.",
  cancelled: "The call was cancelled.",
  missed: "You missed the call.",
  elsewhere: "Answered on another device.",
  "not-found": "There is nobody with that name or number.",
  unavailable: "Not reachable at the moment.",
  busy: "Busy. Try again later.",
  declined: "The call was declined.",
  "no-answer": "Nobody answered.",
  "not-acceptable": "The other side has no audio format in common with this browser.",
  forbidden: "You are not allowed to call there.",
  "media-failed": "The audio connection could not be made. A firewall may be in the way.",
  "media-loopback":
    "The gateway offers no address but loopback, which this browser does not use. Set webrtc.listen to an address of the machine.",
  "media-timeout": "The audio connection was lost.",
  lost: "The connection to the other side was lost and did not come back.",
  unreachable: "The other side's telephone system cannot be reached.",
  "peer-error": "The other side's telephone system has a fault.",
  "line-full": "Every line to the outside is taken. Try again later.",
  "too-many-own": "You have as many calls as you may have at once.",
  overloaded: "Too many calls at the moment. Try again later.",
  "connection-lost": "The connection to the gateway was lost.",
  error: "Something went wrong. Try again.",
};

const MICROPHONE = {
  NotAllowedError: "The microphone is blocked. Allow it for this page in the browser, then try again.",
  SecurityError: "The microphone is blocked. Allow it for this page in the browser, then try again.",
  NotFoundError: "No microphone was found. Plug one in, then try again.",
  OverconstrainedError: "No microphone was found. Plug one in, then try again.",
  NotReadableError: "The microphone is in use by another program.",
  AbortError: "The microphone could not be started. Try again.",
  InsecureContext: "Browsers give the microphone to secure pages only: open this page with https, or on localhost.",
};

export class MicrophoneError extends Error {
  constructor(name) {
    super(MICROPHONE[name] ?? "The microphone could not be started. Try again.");
    this.name = "MicrophoneError";
  }
}

/** The sentence for a cause word; the server's own sentence for a word that is new here. */
export function sentenceFor(cause, fallback) {
  return CAUSES[cause] ?? fallback ?? CAUSES.error;
}

/** Whether the end was nobody's fault. */
export function isHarmless(cause) {
  return ["normal", "cancelled", "elsewhere"].includes(cause);
}

/** "sip:1001@host" -> "1001": what people call each other. */
export function shortName(peer) {
  const user = peer.replace(/^sips?:/i, "").split(/[@;]/, 1)[0];
  try {
    return decodeURIComponent(user) || peer;
  } catch {
    return user || peer;
  }
}

/** Seconds -> "1:05" or "1:00:05". */
export function clockTime(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}
