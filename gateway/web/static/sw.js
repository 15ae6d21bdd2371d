// The service worker: shows a call that comes while no page is open, and opens one where somebody taps it.
// Its words come with its address (see push.js), for they are in the page's files.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const words = new URLSearchParams(location.search);

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

/** @returns {{type: "call" | "missed" | "elsewhere", from: string} | null} */
function read(data) {
  try {
    const message = data.json();
    return words.has(message.type) && typeof message.from === "string" ? message : null;
  } catch {
    return null;
  }
}

/** The open windows with the phone; those with other pages of the gateway do not ring. */
async function phones() {
  const { pathname } = new URL(worker.registration.scope);
  const pages = await worker.clients.matchAll({ type: "window" });
  return pages.filter(({ url }) => new URL(url).pathname === pathname);
}

/** @param {ReturnType<typeof read>} message */
async function show(message) {
  // An open phone rings by itself.
  if (!message || (await phones()).some(({ visibilityState }) => visibilityState === "visible")) return;
  const text = (words.get(message.type) ?? "").replace("{name}", message.from);
  /** @type {NotificationOptions & {renotify: boolean}} */
  const how = {
    tag: "call", // what came of a call takes the place of its notice
    renotify: message.type === "call",
    icon: "static/icon.svg",
  };
  await worker.registration.showNotification(text, how);
}

async function open() {
  const [page] = await phones();
  await (page ? page.focus() : worker.clients.openWindow("./"));
}

worker.addEventListener("push", (event) => event.waitUntil(show(event.data && read(event.data))));
worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open());
});
