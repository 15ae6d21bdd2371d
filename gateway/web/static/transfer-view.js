// Transferring: at once, or after a word with who is to have the call.

import { $ } from "./dom.js";
import * as ui from "./ui.js";
import { dialled } from "./words.js";

/** Open the field that asks for whom, or close it. */
export function openTransfer(open) {
  ui.showTransfer(open);
  ui.fields.target.value = "";
  ui.focusOn(open ? "target" : "transfer");
}

/** @param {import("./gateway-client.js").GatewayClient} client @param {() => ?import("./call.js").Call} front */
export function showTransferring(client, front) {
  const target = () => dialled(ui.fields.target.value);
  $("transfer").addEventListener("click", () => openTransfer($("transferring").hidden));
  $("untransfer").addEventListener("click", () => openTransfer(false));
  $("transferring").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!target()) return;
    front()?.transfer(target());
    openTransfer(false);
  });
  $("consult").addEventListener("click", () => {
    if (!target()) return;
    ui.showTransfer(false);
    client.dial(target(), { video: Boolean(front()?.camera) });
  });
}
