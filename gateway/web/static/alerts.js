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

let shown = null;

/** Say that somebody calls; a click on it brings the page to the front. */
export function notifyCall(name) {
  dismiss();
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  try {
    shown = new Notification(say("notice.incoming", { name }), { tag: "call", requireInteraction: true, icon: "static/icon.svg" });
  } catch {
    return; // some phones show notifications from a service worker only
  }
  shown.addEventListener("click", () => {
    window.focus();
    dismiss();
  });
}

export function dismiss() {
  shown?.close();
  shown = null;
}
