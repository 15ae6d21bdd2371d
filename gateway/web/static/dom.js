// The elements of a page: those that it has, by their ids, and new ones.

/**
 * What is more than an HTMLElement to its module.
 * @typedef {Record<"login" | "join" | "new-user" | "account-form" | "open-form", HTMLFormElement>
 *   & Record<"user" | "password" | "dial" | "target" | "contact-name" | "conversation-text" | "room-number" | "room-pin" | "disturb"
 *     | "forward-always" | "forward-busy" | "forward-no-answer" | "forward-after" | "volume" | "peer" | "text-line" | "account-name"
 *     | "account-auth" | "account-password" | "open-title" | "open-number" | "open-pin", HTMLInputElement>
 *   & Record<"call" | "mute" | "camera" | "hold" | "transfer" | "record" | "hangup" | "full" | "enter" | "guest" | "consult" | "lock"
 *     | "screen" | "video" | "end" | "open-text", HTMLButtonElement>
 *   & Record<"language" | "own-presence" | "microphone" | "camera-choice" | "speaker" | "account-registrar", HTMLSelectElement>
 *   & Record<"picture" | "self", HTMLVideoElement> & Record<"remote" | "voicemail-player", HTMLAudioElement>
 *   & Record<"voice" | "level", HTMLMeterElement> & Record<"provider", HTMLAnchorElement>} Kinds
 */

/**
 * Every page has the elements that its modules name.
 * @template {string} Id
 * @param {Id} id
 * @returns {Id extends keyof Kinds ? Kinds[Id] : HTMLElement}
 */
export function $(id) {
  return /** @type {any} */ (document.getElementById(id));
}

/**
 * A new element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} [properties]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}

/**
 * What a list shows, the rows that stay being the same elements: no focus is lost under somebody's fingers.
 * @template {object} Entry
 * @param {HTMLElement} card with the list
 * @param {Entry[]} entries
 * @param {(entry: Entry) => string} keyOf
 * @param {(entry: Entry, known?: HTMLElement) => HTMLElement} row the entry's element, the known one where there is
 */
export function showList(card, entries, keyOf, row) {
  const list = /** @type {HTMLElement} */ (card.querySelector("ul"));
  const former = /** @type {HTMLElement[]} */ ([...list.children]);
  const known = new Map(former.map((item) => [item.dataset.key ?? "", item]));
  const items = entries.map((entry) => row(entry, known.get(keyOf(entry))));
  for (const item of former) if (!items.includes(item)) item.remove();
  for (const [place, item] of items.entries()) if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
}
