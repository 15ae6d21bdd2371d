// Pictures: the other side's, a room's members', our own, and the buttons for them.

import { $, make, showList } from "./dom.js";
import * as ui from "./ui.js";
import { say } from "./words.js";

/** @param {HTMLVideoElement} element @param {MediaStream | null} stream */
function play(element, stream) {
  element.hidden = !stream;
  if (element.srcObject === stream) return;
  element.srcObject = stream;
  if (stream) element.play().catch(() => {});
}

/** @typedef {{mid: string, stream: MediaStream}} Picture */

/** @param {Picture[]} pictures @param {Record<string, string> | null} names by mid */
function showOthers(pictures, names) {
  $("others").hidden = !pictures.length;
  showList($("others"), pictures, ({ mid }) => mid, ({ mid, stream }, known) => {
    const item = known ?? make("li");
    item.dataset.key = mid;
    if (!known) item.append(make("video", { autoplay: true, playsInline: true, muted: true }), make("span"));
    const [video, name] = item.children;
    name.textContent = names?.[mid] ?? "";
    video.setAttribute("aria-label", names?.[mid] ?? say("video.picture"));
    play(/** @type {HTMLVideoElement} */ (video), stream);
    return item;
  });
}

/**
 * @param {import("./gateway-client.js").GatewayClient} client
 * @param {() => ?import("./call.js").Call} front
 * @param {(peer: string, options: {video: boolean}) => unknown} dial
 * @returns {(names: Record<string, string> | null) => void} takes the names of those whose pictures a room shows, by mid
 */
export function showVideo(client, front, dial) {
  /** @type {Record<string, string> | null} */
  let names = null;

  function draw() {
    const call = front();
    // A track goes on when nobody is shown in it any more: the room knows.
    const [first, ...others] = (call?.pictures ?? []).filter(({ mid }) => !names || mid in names);
    const picture = first?.stream ?? null;
    const own = call?.camera ?? null;
    const isShown = Boolean(picture || own);
    play($("picture"), picture);
    $("picture-name").textContent = (first && names?.[first.mid]) ?? "";
    showOthers(others, names);
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
  return (known) => {
    names = known;
    draw();
  };
}
