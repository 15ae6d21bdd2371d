// Choosing microphone and speaker, and trying the microphone.

import * as ui from "./ui.js";
import { microphoneSentence } from "./words.js";

const $ = (id) => document.getElementById(id);

/** @param {import("./gateway-client.js").GatewayClient} client @param {import("./devices.js").Devices} devices */
export function showSound(client, devices) {
  async function show() {
    const { chosen } = devices;
    client.microphone = chosen.microphone;
    ui.showChoices("microphone", await devices.list("audioinput"), chosen.microphone);
    ui.showChoices("speaker", await devices.list("audiooutput"), chosen.speaker);
  }

  for (const kind of ["microphone", "speaker"]) {
    $(kind).addEventListener("change", ({ target }) => {
      devices.choose(kind, target.value);
      show();
    });
  }
  $("test").addEventListener("click", async () => {
    try {
      if (devices.testing) devices.stop();
      else await devices.test();
    } catch (error) {
      ui.tell(microphoneSentence(error.name), "bad");
    }
    ui.showTest(devices.testing);
  });
  devices.addEventListener("level", ({ detail }) => ui.showLevel(detail));
  devices.addEventListener("change", show);
  show();
}
