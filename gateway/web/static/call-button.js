// A button that calls, for any page that the gateway allows (web.allowed_origins):
// <script src="https://phone.example.com/call-button.js" data-link="TOKEN" async></script>
// TOKEN is of POST /api/links. data-label is what the button says, data-language "en" or "de". It stands where the script does.

(() => {
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const base = new URL(".", script.src);
  const token = script.dataset.link || decodeURIComponent(location.hash.slice(1));
  const WORDS = {
    en: {
      call: "Call us", hangUp: "Hang up", mute: "Mute", unmute: "Unmute", microphone: "May this page use your microphone?",
      calling: "Calling…", ringing: "It rings…", talking: "You are connected.", over: "The call has ended.",
      denied: "Without a microphone there is no call. Allow it in your browser, then try again.",
      insecure: "This page is not secure (https), so your browser gives it no microphone.",
      invalid: "This link is not valid any more.", lost: "The connection was lost.", failed: "The call did not succeed. Try again later.",
      busy: "They are in another call. Try again later.", "no-answer": "Nobody answered.", declined: "The call was declined.",
    },
    de: {
      call: "Rufen Sie uns an", hangUp: "Auflegen", mute: "Stumm", unmute: "Ton an", microphone: "Darf diese Seite Ihr Mikrofon benutzen?",
      calling: "Wir rufen an …", ringing: "Es klingelt …", talking: "Sie sind verbunden.", over: "Das Gespräch ist beendet.",
      denied: "Ohne Mikrofon gibt es kein Gespräch. Erlauben Sie es im Browser und versuchen Sie es noch einmal.",
      insecure: "Diese Seite ist nicht sicher (https), der Browser gibt ihr kein Mikrofon.",
      invalid: "Dieser Link gilt nicht mehr.", lost: "Die Verbindung ist abgerissen.", failed: "Der Anruf ist nicht gelungen. Versuchen Sie es später.",
      busy: "Dort wird gerade telefoniert. Versuchen Sie es später.", "no-answer": "Niemand hat abgenommen.", declined: "Der Anruf wurde abgelehnt.",
    },
  };
  const language = (script.dataset.language || document.documentElement.lang || navigator.language).slice(0, 2);
  const words = WORDS[language] || WORDS.en;
  const STYLE = `
    :host { all: initial; display: inline-block; font: 500 1rem/1.4 system-ui, sans-serif; color-scheme: light dark; }
    button { min-height: 44px; padding: 0 20px; border: 2px solid transparent; border-radius: 22px; font: inherit; cursor: pointer;
      background: #0b6b43; color: #fff; }
    button[data-up] { background: #b3261e; }
    button#mute { background: #3c4a46; }
    button:focus-visible { outline: 3px solid #1a73e8; outline-offset: 2px; }
    p { margin: 8px 4px 0; min-height: 1.4em; color: light-dark(#1d2623, #e6ece9); }
    [hidden] { display: none; }`;

  const host = document.createElement("span");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  const made = (name, properties) => root.appendChild(Object.assign(document.createElement(name), properties));
  const button = made("button", { id: "call", type: "button", textContent: script.dataset.label || words.call });
  const mute = made("button", { id: "mute", type: "button", hidden: true, textContent: words.mute });
  const status = made("p", { id: "status", role: "status" });
  const sound = made("audio", { autoplay: true });
  host.lang = words === WORDS.de ? "de" : "en";
  script.after(host);

  /** @type {Call | null} */
  let call = null;

  class Call {
    #ids = 0;
    #waiting = new Map();
    #candidates = [];
    #placed = false;

    /** @type {RTCPeerConnection | undefined} */
    media;
    stream = new MediaStream();

    constructor(to) {
      this.to = to;
    }

    async start() {
      say(words.microphone);
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      if (this.over) return this.stop();
      say(words.calling);
      this.servers = await fetch(new URL("iceservers", base), { headers: { Authorization: `Bearer ${token}` } }).then((answer) => answer.json()).catch(() => []);
      const media = (this.media = this.#connection());
      await this.#open();
      await this.#ask("announce", { peer_id: `guest-${crypto.randomUUID()}`, token }).catch(() => this.end("invalid"));
      if (this.over) return;
      await media.setLocalDescription();
      const { call_id: id } = await this.#ask("offer", { to_peer_id: this.to, ...media.localDescription?.toJSON() });
      this.id = id;
      this.#placed = true;
      for (const candidate of this.#candidates.splice(0)) this.#candidate(candidate);
    }

    #connection() {
      const media = new RTCPeerConnection({ iceServers: this.servers });
      for (const track of this.stream.getTracks()) media.addTrack(track, this.stream);
      media.ontrack = ({ track }) => (sound.srcObject = new MediaStream([track]));
      media.onicecandidate = ({ candidate }) => candidate && media === this.media && this.#candidate(candidate);
      media.onconnectionstatechange = () => media.connectionState === "failed" && media === this.media && this.end("lost");
      return media;
    }

    /** What is said to a later offer. Another certificate is another end: not every browser takes it in the connection it has. */
    async #answerTo(sdp) {
      const known = this.media?.remoteDescription?.sdp;
      const media = (known && certificates(sdp) !== certificates(known) ? null : this.media) ?? this.#connection();
      try {
        await media.setRemoteDescription({ type: "offer", sdp });
        await media.setLocalDescription();
        if (this.over) throw new Error("over");
      } catch {
        if (media !== this.media) media.close();
        else if (media.signalingState === "have-remote-offer") await media.setRemoteDescription({ type: "rollback" });
        return { type: "rollback" };
      }
      if (media !== this.media) this.media?.close();
      this.media = media;
      return media.localDescription?.toJSON();
    }

    #candidate({ candidate, sdpMid }) {
      if (this.#placed) this.#tell("ice_candidate", { candidate, sdp_mid: sdpMid });
      else this.#candidates.push({ candidate, sdpMid });
    }

    #open() {
      const url = new URL("rpc", base);
      url.protocol = url.protocol.replace("http", "ws");
      const socket = (this.socket = new WebSocket(url));
      socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
      return new Promise((done, failed) => {
        socket.onopen = done;
        socket.onclose = () => {
          failed(new Error("closed"));
          this.end(this.id ? "lost" : "failed");
        };
      });
    }

    #ask(method, params) {
      const id = ++this.#ids;
      this.socket?.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      return new Promise((done, failed) => this.#waiting.set(id, { done, failed }));
    }

    #tell(method, more = {}) {
      if (this.socket?.readyState !== WebSocket.OPEN) return;
      this.#ask(method, { to_peer_id: this.to, call_id: this.id, ...more }).catch(() => {});
    }

    async #heard({ id, method, params, result, error }) {
      if (id) {
        const { done, failed } = this.#waiting.get(id) ?? {};
        this.#waiting.delete(id);
        if (error) failed?.(Object.assign(new Error(error.message), { cause: error.data?.cause }));
        else done?.(result);
      } else if (method === "answer") {
        await this.media?.setRemoteDescription({ type: "answer", sdp: params.sdp }).catch(() => this.end("failed"));
      } else if (method === "offer" && params.update) {
        this.#tell("answer", { ...(await this.#answerTo(params.sdp)), exchange: params.exchange });
      } else if (method === "call_state" && params.state === "ringing") {
        say(words.ringing);
      } else if (method === "call_state" && params.state === "answered") {
        say(words.talking);
        mute.hidden = false;
      } else if (method === "call_state" && params.state === "ended") {
        this.end(params.cause);
      }
    }

    toggle() {
      const [track] = this.stream.getAudioTracks();
      track.enabled = !track.enabled;
      mute.textContent = track.enabled ? words.mute : words.unmute;
    }

    stop() {
      for (const track of this.stream.getTracks()) track.stop();
      this.media?.close();
    }

    end(cause) {
      if (this.over) return;
      this.over = true;
      this.#tell("disconnect", { peer_id: this.to });
      this.socket?.close(1000);
      this.stop();
      ended(cause);
    }
  }

  function certificates(sdp) {
    return [...new Set(sdp.match(/^a=fingerprint:.*$/gm))].sort().join();
  }

  function say(text) {
    status.textContent = text;
  }

  function ended(cause) {
    call = null;
    sound.srcObject = null;
    button.textContent = script.dataset.label || words.call;
    delete button.dataset.up;
    mute.hidden = true;
    mute.textContent = words.mute;
    const known = { normal: "over", cancelled: "over", elsewhere: "over", forbidden: "invalid" }[cause] || cause;
    say(words[known] || words.failed);
  }

  function whom() {
    try {
      return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).to;
    } catch {
      return null;
    }
  }

  button.addEventListener("click", () => {
    if (call) return call.end("normal");
    const to = whom();
    if (!to) return ended("invalid");
    if (!navigator.mediaDevices) return ended("insecure");
    const mine = (call = new Call(to));
    button.textContent = words.hangUp;
    button.dataset.up = "";
    mine.start().catch((error) => mine.end(error.name === "NotAllowedError" || error.name === "NotFoundError" ? "denied" : error.cause));
  });
  mute.addEventListener("click", () => call?.toggle());
  addEventListener("pagehide", () => call?.end("normal"));
})();
