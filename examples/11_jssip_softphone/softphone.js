// A softphone: JsSIP speaks SIP over a WebSocket, the browser does the rest. The account comes in the page's fragment.

const account = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const element = (id) => document.getElementById(id);
const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // a tone would pass for noise
const media = { mediaConstraints: { audio: "raw" in account ? raw : true, video: false } };

const show = (state, words = state) => {
  document.body.dataset.state = state;
  element("status").textContent = words;
};

const ua = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(account.server)],
  uri: `sip:${account.user}@${account.domain}`,
  password: account.password,
  register_expires: 600,
});
let session = null;

ua.on("registered", () => session || show("ready"));
ua.on("registrationFailed", ({ cause }) => show("refused", `not registered: ${cause}`));
ua.on("disconnected", () => session || show("offline"));

ua.on("newRTCSession", ({ session: one, originator }) => {
  if (session) return one.terminate({ status_code: 486 }); // one call at a time
  session = one;
  show(originator === "remote" ? "ringing" : "calling", one.remote_identity.uri.user);

  // At every track event anew: after a hold Chromium may play the stream it had before as silence.
  const listen = (connection) =>
    connection.addEventListener("track", ({ track }) => (element("remote").srcObject = new MediaStream([track])));
  if (one.connection) listen(one.connection);
  one.on("peerconnection", ({ peerconnection }) => listen(peerconnection));

  one.on("confirmed", () => show("talking"));
  for (const end of ["ended", "failed"]) {
    one.on(end, ({ cause }) => {
      session = null;
      show("ready", cause);
    });
  }
});

element("calling").onsubmit = (event) => {
  event.preventDefault();
  ua.call(`sip:${element("dial").value}@${account.domain}`, media);
};
element("answer").onclick = () => session?.answer(media);
element("hangup").onclick = () => session?.terminate();
ua.start();
