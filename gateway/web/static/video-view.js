// Pictures: the other side's, our own, and the buttons for them.

import { $ } from "./dom.js";
import * as ui from "./ui.js";
import { say } from "./words.js";

/** @param {HTMLVideoElement} element @param {MediaStream | null} stream */
function play(element, stream) {
  element.hidden = !stream;
  if (element.srcObject === stream) return;
  element.srcObject = stream;
  if (stream) element.play().catch(() => {});
}

/**
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {() => ?import("./call.js").Call} front
 * @param {(peer: string, options: {video: boolean}) => unknown} dial
 */
export function showVideo(client, front, dial) {
  function draw() {
    const call = front();
    const picture = call?.picture ?? null;
    const own = call?.camera ?? null;
    const isShown = Boolean(picture || own);
    play($("picture"), picture);
    play($("self"), own);
    $("pictures").hidden = !isShown;
    document.body.toggleAttribute("data-video", isShown);
    if (!isShown) showKeypad(false);
    $("full").hidden = !picture;
    $("camera").disabled = call?.state !== "talking" || call.away || call.held;
    $("camera").setAttribute("aria-pressed", String(Boolean(own)));
    ui.label("camera", own ? "action.cameraOff" : "action.camera");
    $("accept-video").hidden = !call?.offersVideo;
  }

  function showKeypad(open) {
    document.body.toggleAttribute("data-keypad", open);
    $("keypad").setAttribute("aria-expanded", String(open));
  }

  client.addEventListener("calls", draw);
  $("video").addEventListener("click", () => dial(ui.fields.dial.value, { video: true }));
  $("accept-video").addEventListener("click", () => front()?.accept({ video: true }));
  $("camera").addEventListener("click", () => {
    const call = front();
    call?.setCamera(!call.camera);
  });
  $("keypad").addEventListener("click", () => showKeypad(!document.body.hasAttribute("data-keypad")));
  $("full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else $("pictures").requestFullscreen().catch(() => {});
  });
  for (const [id, word] of [["picture", "video.picture"], ["self", "video.own"]]) $(id).setAttribute("aria-label", say(word));
  draw();
}
