// Users on the operators' page: everybody sees who is there; administrators make, change and remove those they made.

import { $, make } from "./dom.js";
import { say } from "./words.js";

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
      tell(/** @type {Error} */ (error).message, "bad");
    }
  }

  $("new-user").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = $("new-user");
    const [id, display_name, role, way] = ["id", "display_name", "role", "way"].map((name) => String(new FormData(form).get(name)).trim());
    const ways = { web: way !== "sip", sip: way !== "web" };
    change(() => send("users", "POST", { id, display_name, role, ...ways }), (user) => {
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
