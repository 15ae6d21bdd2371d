// Choosing microphone, camera, speaker and volume, and trying the microphone.

import { $ } from "./dom.js";
import * as ui from "./ui.js";
import { microphoneSentence, percent } from "./words.js";

/** @param {import("./gateway-client.js").GatewayClient} client @param {import("./devices.js").Devices} devices */
export function showSound(client, devices) {
  async function show() {
    const { chosen } = devices;
    Object.assign(client, { microphone: chosen.microphone, camera: chosen.camera });
    ui.showChoices("microphone", await devices.list("audioinput"), chosen.microphone);
    ui.showChoices("camera-choice", await devices.list("videoinput"), chosen.camera);
    ui.showChoices("speaker", await devices.list("audiooutput"), chosen.speaker);
  }

  for (const [kind, field] of Object.entries({ microphone: $("microphone"), camera: $("camera-choice"), speaker: $("speaker") })) {
    field.addEventListener("change", () => {
      devices.choose(kind, field.value);
      show();
    });
  }
  function showVolume() {
    $("volume").value = String(devices.volume * 100);
    $("volume").setAttribute("aria-valuetext", percent(devices.volume));
  }

  $("loudness").hidden = !devices.hasVolume;
  $("volume").addEventListener("input", () => {
    devices.volume = $("volume").valueAsNumber / 100;
    showVolume();
  });
  showVolume();

  $("test").addEventListener("click", async () => {
    try {
      if (devices.testing) devices.stop();
      else await devices.test();
    } catch (error) {
      ui.tell(microphoneSentence(/** @type {Error} */ (error).name), "bad");
    }
    ui.showTest(devices.testing);
  });
  devices.addEventListener("level", ({ detail }) => ui.showLevel(detail));
  devices.addEventListener("change", show);
  show();
}
