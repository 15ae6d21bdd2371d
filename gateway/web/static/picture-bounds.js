// How large and fast a picture the other side takes, as its description says. Chromium reads that and does nothing about it
// (Firefox keeps to max-fs and max-fr): a page tells its sender.

/** Macroblocks a picture and a second, by the level_idc of H.264 (ITU-T H.264 table A-1). @type {Record<number, number[]>} */
const H264 = {
  9: [99, 1485], 10: [99, 1485], 11: [396, 3000], 12: [396, 6000], 13: [396, 11880], 20: [396, 11880], 21: [792, 19800],
  22: [1620, 20250], 30: [1620, 40500], 31: [3600, 108000], 32: [5120, 216000], 40: [8192, 245760], 41: [8192, 245760],
  42: [8704, 522240], 50: [22080, 589824], 51: [36864, 983040], 52: [36864, 2073600],
};
/** As many pixels, by the level-idx of AV1 (its specification, A.3). @type {Record<number, number[]>} */
const AV1 = { 0: [576, 17280], 1: [1089, 32670], 4: [2601, 78030], 5: [4160, 124807], 8: [9216, 276480], 9: [9216, 552960], 12: [34816, 1044480] };
const BLOCK = 16; // pixels of a macroblock's side

/** @typedef {{size: number, rate: number, speed: number}} Bounds macroblocks a picture, pictures a second, macroblocks a second */

/** What the other side takes of a codec, by its format parameters. @param {string} codec as "video/VP8" @param {string} [fmtp] @returns {Bounds} */
export function bounds(codec, fmtp = "") {
  const said = Object.fromEntries(fmtp.split(";").map((each) => each.trim().split("=")));
  const number = (/** @type {string} */ name) => Math.max(0, Number(said[name]) || 0);
  /** @type {number[] | undefined} */
  let level;
  if (codec === "video/H264") level = H264[levelOf(said["profile-level-id"] ?? "")];
  else if (codec === "video/AV1") level = AV1[Number(said["level-idx"] ?? 5)];
  else return { size: number("max-fs") || Infinity, rate: number("max-fr") || Infinity, speed: Infinity };
  const [size, speed] = level ?? [Infinity, Infinity];
  return { size: Math.max(size, number("max-fs")), speed: Math.max(speed, number("max-mbps")), rate: Infinity };
}

/** The level_idc; 9 of level 1b, which the baseline writes as 1.1 with a flag. @param {string} profile profile-level-id */
function levelOf(profile) {
  const [idc, flags, level] = [0, 2, 4].map((place) => parseInt(profile.slice(place, place + 2), 16));
  return level === 11 && idc < 0x64 && flags & 0x10 ? 9 : level;
}

/**
 * What an encoding is to be so that it keeps to them.
 * @param {Bounds} bounds @param {{width?: number, height?: number}} picture that is sent, as far as it is known
 */
export function fitting({ size, rate, speed }, picture) {
  const { width = 0, height = 0 } = picture;
  if (!(width > 0 && height > 0)) return fitting({ size, rate, speed }, { width: 1280, height: 720 }); // not known yet
  const longest = BLOCK * Math.sqrt(8 * size); // side
  const scale = Math.min(BLOCK * Math.sqrt(size / (width * height)), longest / width, longest / height);
  // All that fits into a box of whole macroblocks has as few of them, turned by a quarter as well; so may what is sent later.
  const [maxWidth, maxHeight] = [width, height].map((side) => Math.max(BLOCK, Math.floor((scale * side) / BLOCK + 1e-9) * BLOCK));
  const [across, down] = Number.isFinite(size) ? [maxWidth, maxHeight] : [width, height]; // nothing is reckoned anew as it grows
  const blocks = Math.ceil(across / BLOCK) * Math.ceil(down / BLOCK);
  const most = Math.min(rate, Math.max(1, Math.floor(speed / blocks)));
  return {
    scaleResolutionDownBy: Math.max(1, width / maxWidth, height / maxHeight), // where the browser knows no box
    scaleResolutionDownTo: Number.isFinite(size) ? { maxWidth, maxHeight } : undefined,
    maxFramerate: Number.isFinite(most) ? most : undefined,
  };
}

/** What is done last for each. @type {WeakMap<RTCRtpSender, Promise<void>>} */
const latest = new WeakMap();

/** Have a sender of a picture keep to what the other side takes by its latest description. @param {RTCRtpSender} sender */
function keepToBounds(sender) {
  // One after the other, for what somebody sets makes stale what another has read; once more where the page itself did so.
  const tried = (latest.get(sender) ?? Promise.resolve()).then(() => fit(sender)).catch(() => fit(sender));
  const done = tried.catch(() => {}); // the call is over
  latest.set(sender, done);
  return done;
}

/** @param {RTCRtpSender} sender */
async function fit(sender) {
  const parameters = sender.getParameters();
  const codec = parameters.codecs?.find(({ mimeType }) => /\/(H264|VP8|VP9|AV1)$/.test(mimeType)); // the one it sends
  if (!codec || parameters.encodings.length !== 1) return;
  Object.assign(parameters.encodings[0], fitting(bounds(codec.mimeType, codec.sdpFmtpLine), sender.track?.getSettings() ?? {}));
  await sender.setParameters(parameters);
}

/** Have a connection send no more than the other side takes, from each pair of descriptions on. @param {RTCPeerConnection} connection */
export function boundPictures(connection) {
  connection.addEventListener("signalingstatechange", () => {
    if (connection.signalingState !== "stable") return;
    for (const sender of connection.getSenders()) if (sender.track?.kind === "video") keepToBounds(sender);
  });
}

/** Send another picture, which may be of another size. @param {RTCRtpSender} sender @param {MediaStreamTrack | null} track */
export async function replaceTrack(sender, track) {
  await sender.replaceTrack(track);
  if (track) await keepToBounds(sender);
}
