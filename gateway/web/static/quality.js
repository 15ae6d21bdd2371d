// How good a call's connection is, from the browser's own statistics: four bars, and a word for what is wrong.

const LOSS = [0.01, 0.03, 0.08, 0.2]; // each costs a bar
const DELAY_S = [0.25, 0.4, 0.6, 1];
const JITTER_S = [0.04, 0.06, 0.1, 0.2];

/**
 * @typedef {{received: number, lost: number, jitter: number, lossOut: number, roundTrip: number}} Figures
 *
 * What counts, of an RTCStatsReport.
 * @param {RTCStatsReport} report
 * @returns {Figures}
 *   packets so far, and of them lost; jitter and round trip in seconds; `lossOut` the share of ours that got lost
 */
export function figures(report) {
  const found = { received: 0, lost: 0, jitter: 0, lossOut: 0, roundTrip: 0 };
  for (const entry of report.values()) {
    if (entry.type === "inbound-rtp" && entry.kind === "audio") {
      found.received = entry.packetsReceived ?? 0;
      found.lost = Math.max(0, entry.packetsLost ?? 0);
      found.jitter = entry.jitter ?? 0;
    } else if (entry.type === "remote-inbound-rtp" && entry.kind === "audio") {
      found.lossOut = entry.fractionLost ?? 0;
    } else if (entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded") {
      found.roundTrip = entry.currentRoundTripTime ?? 0;
    }
  }
  return found;
}

const steps = (value, limits) => limits.filter((limit) => value >= limit).length;

/**
 * The quality between two looks.
 * @param {Figures} before @param {Figures} now
 * @returns {{bars: number, problem: string, share: number}} `bars` 0 to 4;
 *   `problem` is what costs the most bars ("loss", "delay", "jitter", "silent"), "" where it is not worth a word; `share` of packets
 *   that got lost
 */
export function quality(before, now) {
  const received = now.received - before.received;
  const lost = Math.max(0, now.lost - before.lost);
  const share = Math.max(lost / (received + lost || 1), now.lossOut);
  if (!received) return { bars: 0, problem: "silent", share };
  const costs = {
    loss: steps(share, LOSS),
    delay: steps(now.roundTrip, DELAY_S),
    jitter: steps(now.jitter, JITTER_S),
  };
  const [problem, cost] = Object.entries(costs).reduce((worst, next) => (next[1] > worst[1] ? next : worst));
  return { bars: 4 - cost, problem: cost >= 2 ? problem : "", share };
}

const LOOK_MS = 2_000;

/**
 * Tell the quality of a call every two seconds, null where nothing is known.
 * @param {() => ?import("./call.js").Call} front @param {(found: ?ReturnType<typeof quality>) => void} tell
 */
export function watchQuality(front, tell) {
  /** @type {{call: import("./call.js").Call, figures: Figures} | null} two seconds ago */
  let looked = null;
  setInterval(async () => {
    const call = front();
    const connection = call?.state === "talking" && call.media === "connected" ? call.connection : null;
    const now = connection && figures(await connection.getStats());
    if (call !== front()) return;
    const before = looked && looked.call === call ? looked.figures : null;
    looked = call && now && { call, figures: now };
    tell(now && before && !call?.held && !call?.heldByPeer ? quality(before, now) : null);
  }, LOOK_MS);
}
