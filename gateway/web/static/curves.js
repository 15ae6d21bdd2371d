// MOS and loss of each side of a call, as curves since somebody looks at it.

import { percent, say } from "./words.js";

const WIDTH = 320;
const HEIGHT = 72;
const MOST = 300; // samples of one side: ten minutes
const SVG = "http://www.w3.org/2000/svg";
const SCALES = { mos: { low: 1, high: 4.5 }, loss: { low: 0, high: 0.2 } };

export class Curves {
  #call = "";
  #sides = new Map(); // party -> {received, lost, mos: [], loss: []}

  /** Take what /api/calls/{id} says of the media now. */
  add(call) {
    if (call.id !== this.#call) {
      this.#call = call.id;
      this.#sides.clear();
    }
    if (call.state === "ended") return;
    for (const { party, received } of call.media) {
      const side = this.#sides.get(party) ?? { received: received.packets, lost: received.lost, mos: [], loss: [] };
      const lost = received.lost - side.lost;
      const expected = received.packets - side.received + lost;
      side.loss.push(Math.max(0, lost / Math.max(1, expected)));
      side.mos.push(received.mos);
      side.mos.splice(0, side.mos.length - MOST);
      side.loss.splice(0, side.loss.length - MOST);
      Object.assign(side, { received: received.packets, lost: received.lost });
      this.#sides.set(party, side);
    }
  }

  /** Draw them into `place`. @param {(uri: string) => string} name of a party */
  draw(place, name) {
    place.replaceChildren(...[...this.#sides].flatMap(([party, side]) => [
      figure(`${name(party)}: ${say("admin.mos")}`, side.mos, SCALES.mos, (value) => value.toFixed(2), Math.min),
      figure(`${name(party)}: ${say("admin.lost")}`, side.loss, SCALES.loss, percent, Math.max),
    ]));
  }
}

/** One curve, and the same in words: what it is now, and the worst of it. */
function figure(title, values, { low, high }, shown, worst) {
  const measured = values.filter((value) => value !== null);
  const text = measured.length
    ? say("admin.curve", { now: shown(measured.at(-1)), worst: shown(worst(...measured)) })
    : say("admin.unmeasured");
  const box = document.createElement("figure");
  const caption = Object.assign(document.createElement("figcaption"), { textContent: `${title} – ${text}` });
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  const step = WIDTH / Math.max(1, values.length - 1);
  const height = (value) => HEIGHT - 2 - ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (HEIGHT - 4);
  const points = values.map((value, index) => (value === null ? "" : `${(index * step).toFixed(1)},${height(value).toFixed(1)}`));
  line.setAttribute("points", points.filter(Boolean).join(" "));
  drawing.append(line);
  box.append(drawing, caption);
  return box;
}
