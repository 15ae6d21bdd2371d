// Signing in by other means than a password: at the site's OpenID provider, or known to the site already.

import { say } from "./words.js";

const AT_PROVIDER = "sign-in"; // of the page's address, when the provider has sent the browser back
const TRIED = "softphone.site"; // the site was asked in this tab, and did not know

/** Show the way to the provider, if there is one. @param {HTMLAnchorElement} link */
export async function offer(client, link) {
  const { oidc, site } = await client.ways();
  if (oidc) {
    link.href = oidc.path;
    link.textContent = say("login.provider", { name: oidc.name });
    link.hidden = false;
  }
  return site;
}

/** What became of a journey to the provider: "done", "refused", "unavailable", or null where there was none. */
export function outcome() {
  const query = new URLSearchParams(location.search);
  const found = query.get(AT_PROVIDER);
  if (found !== null) {
    query.delete(AT_PROVIDER);
    const rest = query.toString();
    history.replaceState(null, "", location.pathname + (rest && `?${rest}`) + location.hash);
  }
  return found;
}

/** Whether to ask the site who this is: once a tab, so that who logs out stays so. */
export function mayAskSite() {
  const asked = sessionStorage.getItem(TRIED);
  sessionStorage.setItem(TRIED, "1");
  return !asked;
}
