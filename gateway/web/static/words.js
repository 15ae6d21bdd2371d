// The page's language: its words, times and numbers. The words themselves are in words.en.js and words.de.js.

import de from "./words.de.js";
import en from "./words.en.js";

const KEPT = "softphone.language";
const LANGUAGES = { en, de };
// Control, bidirectional and unassigned characters, and line ends; not the joiners of Persian, Hindi and emoji.
const HIDDEN = /(?![\u200c\u200d])[\p{C}\p{Zl}\p{Zp}]/gu;

function chosen() {
  const wanted = [localStorage.getItem(KEPT) ?? "", ...navigator.languages].map((tag) => tag.slice(0, 2).toLowerCase());
  return /** @type {keyof typeof LANGUAGES} */ (wanted.find((tag) => tag in LANGUAGES) ?? "en");
}

export const language = chosen();
/** The browser's own variety of the language (de-AT, en-GB) for times and numbers. */
const locale = navigator.languages.find((tag) => tag.toLowerCase().startsWith(language)) ?? language;

/** The words of that name, with {name} filled in; names with dots are found in the group before the dot. */
export function say(name, values = {}) {
  const [group, key] = name.split(".");
  const text = LANGUAGES[language][group]?.[key] ?? en[group]?.[key] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

/** Whether there are words of that name. */
function has(name) {
  const [group, key] = name.split(".");
  return en[group]?.[key] !== undefined;
}

/** Write the words into every element that names them, and into the page's own language. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = say(element.getAttribute("data-word"));
  for (const [attribute, of] of [["aria-label", "label"], ["placeholder", "hint"]]) {
    for (const element of root.querySelectorAll(`[data-word-${of}]`)) {
      element.setAttribute(attribute, say(element.getAttribute(`data-word-${of}`)));
    }
  }
}

/** Keep a choice and show the page in it. */
export function choose(tag) {
  localStorage.setItem(KEPT, tag);
  location.reload();
}

/** The sentence for a cause word; the server's own sentence for a word that is new here. */
export function sentenceFor(cause, fallback) {
  if (cause === "microphone") return microphoneSentence(fallback);
  return has(`cause.${cause}`) ? say(`cause.${cause}`) : (fallback ?? say("cause.error"));
}

/** The sentence for what a request was refused with. @param {unknown} error */
export function troubleOf(error) {
  const { data, message } = /** @type {import("./rpc.js").RpcError} */ (error);
  return sentenceFor(data?.cause, message);
}

/** The sentence for what getUserMedia refused with. */
export function microphoneSentence(name) {
  return has(`microphone.${name}`) ? say(`microphone.${name}`) : say("microphone.other");
}

/** The sentence for a camera that cannot be had, or a picture that is not taken. */
export function cameraSentence(name) {
  return has(`camera.${name}`) ? say(`camera.${name}`) : say("camera.other");
}

/** Whether the end was nobody's fault. */
export function isHarmless(cause) {
  return ["normal", "cancelled", "elsewhere", "transferred", "merged", "room-closed"].includes(cause);
}

/** "sip:1001@host" -> "1001": what people call each other. */
export function shortName(peer) {
  const user = peer.replace(/^sips?:/i, "").split(/[@;]/, 1)[0];
  try {
    return plain(decodeURIComponent(user)) || plain(peer);
  } catch {
    return plain(user || peer);
  }
}

/** A text of strangers on one line, without characters that turn or hide others. */
export function plain(text) {
  return text.replace(HIDDEN, "");
}

/** What a call's other end is called. @param {{name?: string, peer: string}} call */
export function nameOf({ name, peer }) {
  return plain(name ?? "") || shortName(peer);
}

/** Seconds -> "1:05" or "1:00:05". */
export function clockTime(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** A time of today as a time, another with its day. */
export function when(milliseconds) {
  const at = new Date(milliseconds);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString(locale, today ? { timeStyle: "short" } : { dateStyle: "short", timeStyle: "short" });
}

/** 0.034 -> "3.4 %" as the language writes it. */
export function percent(share) {
  return share.toLocaleString(locale, { style: "percent", maximumFractionDigits: 1 });
}

/** People write +49 (30) 12-34; a name or an address stays as it is. */
export function dialled(text) {
  const number = text.trim();
  return /^[-+()\d\s./*#]+$/.test(number) ? number.replace(/[-()\s./]/g, "") : number.replace(/\s+/g, "");
}
