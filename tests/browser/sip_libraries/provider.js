// A certified OpenID provider on loopback: everybody who can type a name is that person.
import { Provider } from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: "gateway", client_secret: "the-clients-own", redirect_uris: [redirect] }],
  cookies: { keys: ["test"] },
  claims: { openid: ["sub"], profile: ["preferred_username"], email: ["email", "email_verified"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, email: `${id}@example.com`, email_verified: id !== "mallory" }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
