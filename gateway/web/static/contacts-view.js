// How contacts and conversations look. Rows stay the same elements, so that no focus is lost.

import { $, make, showList } from "./dom.js";
import { say, when } from "./words.js";

/**
 * The card of contacts.
 * @param {import("./contacts.js").Contacts} contacts
 * @param {(id: string) => void} dial
 */
export function showContacts(contacts, dial) {
  let open = ""; // whose conversation is shown
  let written = ""; // what of it is on the screen

  /** @param {import("./contacts.js").Contact} contact @param {HTMLElement} [item] */
  function row(contact, item = make("li", { className: "line" })) {
    const presence = contact.presence ? say(`presence.${contact.presence}`) : "";
    const signature = JSON.stringify([contact, open === contact.id]);
    if (item.dataset.shown === signature) return item;
    Object.assign(item.dataset, { key: contact.id, shown: signature, presence: contact.presence });
    if (!item.firstChild) {
      const who = make("div", {});
      who.append(make("b", {}), make("span", {}));
      const call = make("button", { type: "button", textContent: say("action.call") });
      call.dataset.act = "call";
      const write = make("button", { type: "button" });
      write.dataset.act = "write";
      call.setAttribute("aria-label", say("contacts.callName", { name: contact.name }));
      call.onclick = () => dial(contact.id);
      write.onclick = () => show(open === contact.id ? "" : contact.id);
      item.append(who, write, call);
    }
    const [name, note] = item.querySelectorAll("b, span");
    name.textContent = contact.name;
    note.textContent = [presence, contact.note].filter(Boolean).join(": ");
    const write = /** @type {HTMLButtonElement} */ (item.querySelector("[data-act=write]"));
    write.textContent = say(contact.unread ? "contacts.unread" : "contacts.write");
    write.setAttribute("aria-label", `${write.textContent}: ${contact.name}`);
    write.setAttribute("aria-expanded", String(open === contact.id));
    return item;
  }

  function draw() {
    const all = contacts.list();
    showList($("contacts"), all, ({ id }) => id, row);
    $("contacts-none").hidden = all.length > 0;
    if (open) conversation();
  }

  function conversation() {
    const log = $("conversation-log");
    $("conversation-title").textContent = contacts.list().find((one) => one.id === open)?.name ?? open;
    const lines = contacts.conversation(open);
    const now = JSON.stringify([open, lines]);
    if (now === written) return;
    written = now;
    log.firstElementChild?.replaceChildren(...lines.map((line) => {
      const item = make("li", { className: line.ours ? "ours" : "theirs" });
      const state = line.state === "failed" ? ` · ${say("contacts.failed")}` : "";
      item.append(make("p", { textContent: line.text }), make("small", { textContent: when(line.at) + state }));
      return item;
    }));
    log.scrollTop = log.scrollHeight;
  }

  function show(id) {
    open = id;
    $("conversation").hidden = !id;
    if (id) {
      contacts.read(id);
      $("conversation-text").focus({ preventScroll: true });
    }
    draw();
  }

  contacts.addEventListener("change", draw);
  contacts.addEventListener("message", ({ detail }) => detail.contact === open && contacts.read(open));
  $("contact-form").addEventListener("submit", (event) => {
    event.preventDefault();
    contacts.add($("contact-name").value);
    $("contact-name").value = "";
  });
  $("conversation").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("conversation-text").value.trim();
    if (!text) return;
    contacts.send(open, text);
    $("conversation-text").value = "";
  });
  $("contact-remove").addEventListener("click", () => {
    contacts.remove(open);
    show("");
  });
  draw();
}
