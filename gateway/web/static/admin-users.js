// Users on the operators' page: everybody sees who is there; administrators make, change and remove those they made.

import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

/**
 * @param {(path: string, options?: object) => Promise<any>} ask of /api
 * @param {(text: string, tone?: string) => void} tell
 * @param {() => Promise<void>} refresh the page
 */
export function manage(ask, tell, refresh) {
  const send = (path, method, body) => ask(path, { method, body: body && JSON.stringify(body) });

  async function change(work, sentence) {
    try {
      const answer = await work();
      await refresh();
      tell(sentence(answer));
    } catch (error) {
      tell(error.message, "bad");
    }
  }

  $("new-user").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    const { id, display_name, role, way } = Object.fromEntries(new FormData(form));
    const ways = { web: way !== "sip", sip: way !== "web" };
    change(() => send("users", "POST", { id: id.trim(), display_name: display_name.trim(), role, ...ways }), (user) => {
      form.reset();
      return told(user);
    });
  });

  const told = ({ id, password }) => say("admin.password", { user: id, password });

  /** What an administrator can do with a user, for its row. */
  return function actions(user) {
    if (user.configured) return say("admin.configured");
    const place = make("span", {});
    place.dataset.of = user.id;
    const path = `users/${encodeURIComponent(user.id)}`;
    const renew = make("button", { type: "button", textContent: say("admin.renew") });
    renew.setAttribute("aria-label", `${say("admin.renew")}: ${user.id}`);
    renew.onclick = () => change(() => send(path, "PATCH", { password: "auto" }), told);
    const remove = make("button", { type: "button", textContent: say("admin.remove") });
    remove.setAttribute("aria-label", `${say("admin.remove")}: ${user.id}`);
    remove.onclick = () => {
      if (confirm(say("admin.sure", { user: user.id }))) {
        change(() => send(path, "DELETE"), () => say("admin.removed", { user: user.id }));
      }
    };
    place.append(renew, " ", remove);
    return place;
  };
}
