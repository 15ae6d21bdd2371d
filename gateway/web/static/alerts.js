// What reaches somebody who does not look at the page: a notification, and the title.

import { say } from "./words.js";

/** Ask once, in answer to a click: browsers refuse a page that asks out of the blue. */
export async function askForNotifications() {
  if (!("Notification" in window) || Notification.permission !== "default") return;
  await Notification.requestPermission().catch(() => {});
}

/** Whether there is something left to ask for. */
export function notificationsWanted() {
  return "Notification" in window && Notification.permission === "default";
}

/** @type {Notification | null} */
let shown = null;

/** Say that somebody calls, for as long as it rings. */
export function notifyCall(name) {
  dismiss();
  shown = notify(say("notice.incoming", { name }), "call", { requireInteraction: true });
}

/** Say something; a click on it brings the page to the front. Null where it cannot be said. */
export function notify(text, tag, options = {}) {
  if (!("Notification" in window) || Notification.permission !== "granted") return null;
  let notice;
  try {
    notice = new Notification(text, { tag, icon: "static/icon.svg", ...options });
  } catch {
    return null; // some phones show notifications from a service worker only
  }
  notice.addEventListener("click", () => {
    window.focus();
    notice.close();
  });
  return notice;
}

export function dismiss() {
  shown?.close();
  shown = null;
}
