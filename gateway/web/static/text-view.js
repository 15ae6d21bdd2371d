// Real-time text of the call in front: what both sides type, as they type it.

import { $, make } from "./dom.js";
import { nameOf, say } from "./words.js";

const WANTED = "softphone.text"; // who has asked for text once has it asked for in every call

/** Whether calls are to ask for text from the beginning. */
export function wantsText() {
  return localStorage.getItem(WANTED) === "1";
}

/**
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {() => ?import("./call.js").Call} front
 */
export function showText(client, front) {
  /** @type {?import("./call.js").Call} whose lines are shown */
  let shown = null;
  /** @type {import("./call-text.js").Line[]} */
  let drawn = [];
  /** @type {?import("./call.js").Call} for which the button was pressed */
  let asked = null;

  function draw() {
    const call = front();
    const text = call?.text;
    const isOpen = Boolean(text?.isOpen) && call?.state === "talking";
    const isRead = isOpen || Boolean(text?.lines.length || text?.theirs);
    $("text").hidden = !isRead;
    $("open-text").disabled = call?.state !== "talking" || call.away || call.held;
    $("open-text").hidden = isOpen;
    $("text-line").disabled = !isOpen;
    if (!isRead || !call || !text) {
      shown = null;
      return;
    }
    if (call !== shown) $("text-line").value = text.own;
    drawLines(call, text);
    $("text-theirs").textContent = text.theirs;
    $("text-theirs").hidden = !text.theirs;
    $("text-log").scrollTop = $("text-log").scrollHeight;
    if (isOpen && call === asked) {
      asked = null;
      $("text-line").focus();
    }
  }

  /** Those that are gone go, and those that are new are added, so that a screen reader says them once. @param {import("./call.js").Call} call @param {import("./call-text.js").CallText} text */
  function drawLines(call, { lines }) {
    const list = /** @type {HTMLElement} */ ($("text-log").firstElementChild);
    const first = call === shown && lines.length ? drawn.indexOf(lines[0]) : -1;
    const kept = first < 0 ? [] : drawn.slice(first);
    const end = kept.findIndex((line, place) => line !== lines[place]);
    const same = end < 0 ? kept.length : end;
    for (let gone = drawn.length - kept.length; gone > 0; gone -= 1) list.firstElementChild?.remove();
    while (list.children.length > same) list.lastElementChild?.remove();
    for (const line of lines.slice(same)) {
      const item = make("li", { className: line.own ? "ours" : "" });
      const who = make("b", { className: "sr", textContent: `${line.own ? say("text.you") : nameOf(call)}: ` });
      item.append(who, make("p", { textContent: line.text }));
      list.append(item);
    }
    shown = call;
    drawn = [...lines];
  }

  client.addEventListener("calls", draw);
  $("open-text").addEventListener("click", () => {
    localStorage.setItem(WANTED, "1");
    asked = front();
    asked?.askForText();
  });
  $("text-line").addEventListener("input", () => front()?.text.write($("text-line").value));
  $("text-line").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation(); // which would hang up
    $("text-line").blur();
  });
  $("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    front()?.text.finish();
    $("text-line").value = "";
  });
  draw();
}
