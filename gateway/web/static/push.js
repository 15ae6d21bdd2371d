// Web Push: have the gateway wake this browser when somebody calls and no page is open.

import { say } from "./words.js";

/** The key as applicationServerKey wants it. */
function bytes(base64url) {
  return Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
}

async function ask(client, path, body) {
  const headers = { Authorization: `Bearer ${await client.token()}`, "Content-Type": "application/json" };
  const response = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response;
}

/** The service worker, with its words; null where the browser has none or the page is not secure. */
export async function worker() {
  if (!("serviceWorker" in navigator)) return null;
  const words = new URLSearchParams({
    call: say("notice.incoming", { name: "{name}" }),
    missed: say("notice.missed", { name: "{name}" }),
    elsewhere: say("notice.elsewhere"),
  });
  await navigator.serviceWorker.register(`sw.js?${words}`).catch(() => {});
  return navigator.serviceWorker.ready;
}

/** Be woken for the calls of who is signed in. Resolves to whether that works here; asks for nothing. */
export async function wake(client) {
  if (client.user?.guest !== false || !("PushManager" in window) || Notification.permission !== "granted") return false;
  try {
    const registration = await worker();
    if (!registration) return false;
    const { key } = await (await ask(client, "api/push")).json();
    const options = { userVisibleOnly: true, applicationServerKey: bytes(key) };
    const subscription = await registration.pushManager.subscribe(options).catch(async (error) => {
      if (error.name !== "InvalidStateError") throw error;
      await (await registration.pushManager.getSubscription())?.unsubscribe(); // it was made with another key
      return registration.pushManager.subscribe(options);
    });
    const { endpoint, keys } = subscription.toJSON();
    await ask(client, "api/push", { endpoint, keys });
    return true;
  } catch {
    return false; // no push service, or one that the gateway does not know
  }
}

/** Who signs out is not woken any more. */
export async function sleep(client) {
  const registration = await navigator.serviceWorker?.getRegistration();
  const subscription = await registration?.pushManager?.getSubscription();
  if (!subscription) return;
  await ask(client, "api/push/remove", { endpoint: subscription.endpoint }).catch(() => {});
  await subscription.unsubscribe();
}
