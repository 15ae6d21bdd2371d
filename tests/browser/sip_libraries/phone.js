// One phone over two libraries: what their own guides tell people to write, behind the same few verbs.

const sockets = [];
globalThis.WebSocket = class extends globalThis.WebSocket {
  constructor(...given) {
    super(...given);
    sockets.push(this);
  }
};

const WINDOW = 300; // milliseconds of sound that are looked at

class Sound {
  constructor() {
    this.context = new AudioContext();
    this.out = this.context.createMediaStreamDestination();
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 16384;
    this.context.resume();
    this.rate = this.context.sampleRate;
    this.heard = [];
  }

  speak(hz) {
    const oscillator = this.context.createOscillator();
    oscillator.frequency.value = hz;
    const gain = this.context.createGain();
    gain.gain.value = 0.4;
    oscillator.connect(gain).connect(this.out);
    oscillator.start();
  }

  // A stream of its own for every call: libraries stop its tracks at the end.
  async microphone() {
    await this.context.resume();
    const tracks = [...this.out.stream.getAudioTracks(), ...(this.camera?.getVideoTracks() ?? [])];
    return new MediaStream(tracks.map((track) => track.clone()));
  }

  // Send a picture of one grey in calls from now on, with a line that moves.
  show(grey) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
    const drawing = canvas.getContext("2d");
    let count = 0;
    setInterval(() => {
      drawing.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      drawing.fillRect(0, 0, 320, 240);
      drawing.fillStyle = "black";
      drawing.fillRect(0, count++ % 240, 320, 1);
    }, 66);
    this.camera = canvas.captureStream(15);
  }

  see(track) {
    this.screen ??= document.body.appendChild(Object.assign(document.createElement("video"), { muted: true }));
    if (this.screen.srcObject?.getTracks()[0] === track) return;
    this.screen.srcObject = new MediaStream([track]);
    this.screen.play();
  }

  // The grey of the next picture that comes, 0 to 255; null where none comes for half a second.
  grey() {
    return new Promise((done) => {
      setTimeout(done, 500, null);
      this.screen.requestVideoFrameCallback(() => {
        const canvas = new OffscreenCanvas(this.screen.videoWidth, this.screen.videoHeight);
        const drawing = canvas.getContext("2d");
        drawing.drawImage(this.screen, 0, 0);
        const [first, second] = [60, 180].map((row) => drawing.getImageData(20, row, 1, 1).data[0]);
        done(Math.max(first, second));
      });
    });
  }

  // Set anew at every `track` event: after a hold of its own a Chromium may play the stream it had before as silence.
  hear(track) {
    const audio = document.getElementById("remote");
    audio.srcObject = new MediaStream([track]);
    audio.play();
    if (track === this.track) return;
    this.track = track;
    if (globalThis.MediaStreamTrackProcessor) this.read(track);
    else this.context.createMediaStreamSource(new MediaStream([track])).connect(this.analyser);
  }

  // Chromium hands on no samples of a track that was muted by a hold of its own, though it plays them: see `level`.
  async read(track) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || track !== this.track) return reader.cancel();
      this.rate = value.sampleRate;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      value.close();
      this.heard.push([performance.now(), samples]);
      while (this.heard[0][0] < performance.now() - WINDOW) this.heard.shift();
    }
  }

  get samples() {
    if (!globalThis.MediaStreamTrackProcessor) {
      const samples = new Float32Array(this.analyser.fftSize);
      this.analyser.getFloatTimeDomainData(samples);
      return samples;
    }
    const recent = this.heard.filter(([at]) => at > performance.now() - WINDOW);
    return Float32Array.from(recent.flatMap(([, samples]) => Array.from(samples)));
  }

  // The frequency of the tone that is heard now; null for silence.
  get tone() {
    const samples = this.samples;
    const peak = Math.max(0, ...samples.map(Math.abs));
    if (peak < 0.01 || samples.length < this.rate / 10) return null;
    let crossings = 0;
    let above = false;
    for (const sample of samples) {
      if (Math.abs(sample) < peak / 10 || sample > 0 === above) continue;
      above = sample > 0;
      crossings += above ? 1 : 0;
    }
    return (crossings * this.rate) / samples.length;
  }
}

class Phone {
  constructor(account) {
    this.account = account;
    this.events = [];
    this.waiting = new Set();
    this.sound = new Sound();
    this.sound.speak(account.hz);
    this.session = null;
  }

  tell(name, detail = null) {
    this.events.push([name, detail]);
    for (const look of this.waiting) look();
  }

  // The detail of the next event of this name, however long ago it came; each is given once.
  until(name) {
    return new Promise((done) => {
      const look = () => {
        const found = this.events.findIndex(([each]) => each === name);
        if (found < 0) return;
        this.waiting.delete(look);
        done(this.events.splice(found, 1)[0][1]);
      };
      this.waiting.add(look);
      look();
    });
  }

  watch(connection) {
    this.connection = connection;
    connection.addEventListener("track", ({ track }) => {
      if (track.kind === "audio") this.sound.hear(track);
      else this.sound.see(track);
    });
    connection.addEventListener("connectionstatechange", () => this.tell("media", connection.connectionState));
  }

  // How loud what is played is, 0 to 1.
  async level() {
    return (await this.received()).audioLevel ?? 0;
  }

  async received(wanted = "audio") {
    const stats = [...(await this.connection.getStats()).values()];
    return stats.find(({ type, kind }) => type === "inbound-rtp" && kind === wanted) ?? {};
  }

  uri(target) {
    return target.includes("@") ? target : `sip:${target}@${this.account.domain}`;
  }

  lose() {
    sockets.at(-1).close();
  }
}

class JsSipPhone extends Phone {
  async start() {
    const { url, user, domain, password } = this.account;
    this.ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(url)],
      uri: `sip:${user}@${domain}`,
      password,
      register_expires: 600,
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 2,
    });
    this.ua.on("registered", () => this.tell("registered"));
    this.ua.on("registrationFailed", ({ cause }) => this.tell("refused", cause));
    this.ua.on("disconnected", () => this.tell("disconnected"));
    this.ua.on("newMessage", ({ originator, request }) => {
      if (originator === "remote") this.tell("message", request.body);
    });
    this.ua.on("newRTCSession", ({ session, originator, request }) => this.took(session, originator, request));
    this.ua.start();
  }

  took(session, originator, request) {
    if (originator === "remote") {
      this.incoming = session;
      this.tell("incoming", request.from.uri.user);
    }
    session.on("peerconnection", ({ peerconnection }) => this.watch(peerconnection));
    if (session.connection) this.watch(session.connection);
    session.on("progress", () => this.tell("progress"));
    session.on("confirmed", () => this.tell("confirmed"));
    session.on("ended", ({ cause }) => this.tell("ended", cause));
    session.on("failed", ({ cause }) => this.tell("failed", cause));
    session.on("newInfo", ({ originator: by, info }) => by === "remote" && this.tell("info", info.body));
    session.on("newDTMF", ({ originator: by, dtmf }) => by === "remote" && this.tell("digit", dtmf.tone));
    session.on("hold", ({ originator: by }) => this.tell(`hold ${by}`));
    session.on("unhold", ({ originator: by }) => this.tell(`unhold ${by}`));
  }

  async call(target, headers = []) {
    this.session = this.ua.call(this.uri(target), {
      mediaStream: await this.sound.microphone(),
      mediaConstraints: { audio: true, video: false },
      extraHeaders: headers,
    });
  }

  async answer() {
    this.session = this.incoming;
    this.session.answer({ mediaStream: await this.sound.microphone() });
  }

  hangup() {
    this.session.terminate();
  }

  hold() {
    return new Promise((done) => this.session.hold({}, done));
  }

  resume() {
    return new Promise((done) => this.session.unhold({}, done));
  }

  digit(tone, way) {
    this.session.sendDTMF(tone, { transportType: way === "info" ? "INFO" : "RFC2833" });
  }

  restart() {
    return new Promise((done) => this.session.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, done));
  }

  get dialog() {
    const { _dialog } = this.session;
    return { callId: _dialog.id.call_id, local: _dialog.id.local_tag, remote: _dialog.id.remote_tag };
  }

  transfer(target) {
    return this.outcome((eventHandlers) => this.session.refer(this.uri(target), { eventHandlers }));
  }

  // The consultation is the newer call, `held` the one that goes on with its other side.
  connect(held, consultation) {
    const target = consultation.remote_identity.uri.toString();
    return this.outcome((eventHandlers) => held.refer(target, { replaces: consultation, eventHandlers }));
  }

  outcome(begin) {
    return new Promise((done) => {
      const eventHandlers = {
        accepted: () => done("accepted"),
        failed: ({ status_line }) => done(`failed ${status_line?.status_code}`),
        requestFailed: ({ cause }) => done(`refused ${cause}`),
      };
      begin(eventHandlers);
    });
  }

  message(target, text) {
    return new Promise((done) => {
      const eventHandlers = { succeeded: () => done("delivered"), failed: ({ cause }) => done(cause) };
      this.ua.sendMessage(this.uri(target), text, { eventHandlers });
    });
  }

  stop() {
    this.ua.stop();
  }
}

class SipJsPhone extends Phone {
  async start() {
    const { url, user, domain, password } = this.account;
    this.ua = new SIP.UserAgent({
      uri: SIP.UserAgent.makeURI(`sip:${user}@${domain}`),
      transportOptions: { server: url },
      authorizationUsername: user,
      authorizationPassword: password,
      logBuiltinEnabled: false,
      sessionDescriptionHandlerFactory: SIP.Web.defaultSessionDescriptionHandlerFactory(() => this.sound.microphone()),
      delegate: {
        onInvite: (invitation) => {
          this.incoming = invitation;
          this.took(invitation);
          this.tell("incoming", invitation.remoteIdentity.uri.user);
        },
        onMessage: (message) => {
          message.accept();
          this.tell("message", message.request.body);
        },
        onDisconnect: (error) => {
          this.tell("disconnected");
          if (error) this.reconnect();
        },
      },
    });
    this.registerer = new SIP.Registerer(this.ua, { expires: 600 });
    this.registerer.stateChange.addListener((state) => {
      if (state === SIP.RegistererState.Registered) this.tell("registered");
    });
    await this.ua.start();
    await this.register();
  }

  register() {
    return this.registerer.register({
      requestDelegate: { onReject: ({ message }) => this.tell("refused", message.reasonPhrase) },
    });
  }

  async reconnect() {
    for (;;) {
      try {
        await this.ua.reconnect();
        break;
      } catch {
        await new Promise((done) => setTimeout(done, 1000));
      }
    }
    this.registerer = new SIP.Registerer(this.ua, { expires: 600 });
    this.registerer.stateChange.addListener((state) => {
      if (state === SIP.RegistererState.Registered) this.tell("registered");
    });
    await this.register();
  }

  took(session) {
    session.delegate = {
      onSessionDescriptionHandler: (handler) => this.watch(handler.peerConnection),
      onInfo: (info) => {
        info.accept();
        this.tell("info", info.request.body);
      },
    };
    session.stateChange.addListener((state) => {
      if (state === SIP.SessionState.Established) this.tell("confirmed");
      if (state === SIP.SessionState.Terminated) this.tell(session.dialog ? "ended" : "failed");
    });
  }

  async call(target, headers = []) {
    const to = SIP.UserAgent.makeURI(this.uri(target));
    this.session = new SIP.Inviter(this.ua, to, { extraHeaders: headers });
    this.took(this.session);
    const requestDelegate = {
      onProgress: () => this.tell("progress"),
      onReject: ({ message }) => this.tell("rejected", message.statusCode),
    };
    await this.session.invite({ requestDelegate });
  }

  answer() {
    this.session = this.incoming;
    return this.session.accept();
  }

  hangup() {
    if (this.session.state === SIP.SessionState.Established) this.session.bye();
    else if (this.session instanceof SIP.Inviter) this.session.cancel();
    else this.session.reject();
  }

  reinvite(options) {
    this.session.sessionDescriptionHandlerOptionsReInvite = options;
    return new Promise((done, failed) => {
      const requestDelegate = {
        onAccept: () => done(),
        onReject: ({ message }) => failed(new Error(`re-INVITE: ${message.statusCode}`)),
      };
      this.session.invite({ requestDelegate, sessionDescriptionHandlerOptions: options }).catch(failed);
    });
  }

  hold() {
    return this.reinvite({ hold: true });
  }

  resume() {
    return this.reinvite({ hold: false });
  }

  restart() {
    return this.reinvite({ offerOptions: { iceRestart: true } });
  }

  get dialog() {
    const { callId, localTag, remoteTag } = this.session.dialog;
    return { callId, local: localTag, remote: remoteTag };
  }

  async digit(tone, way) {
    if (way !== "info") return this.session.sessionDescriptionHandler.sendDtmf(tone);
    const content = `Signal=${tone}\r\nDuration=160\r\n`;
    const body = { contentDisposition: "render", contentType: "application/dtmf-relay", content };
    await this.session.info({ requestOptions: { body } });
  }

  transfer(target) {
    return this.outcome(this.session, SIP.UserAgent.makeURI(this.uri(target)));
  }

  connect(held, consultation) {
    return this.outcome(held, consultation);
  }

  outcome(session, target) {
    return new Promise((done) => {
      const onNotify = (notification) => {
        notification.accept();
        const status = Number(/^SIP\/2\.0 (\d{3})/.exec(notification.request.body)?.[1]);
        if (status >= 200) done(status < 300 ? "accepted" : `failed ${status}`);
      };
      const requestDelegate = { onReject: ({ message }) => done(`refused ${message.statusCode}`) };
      session.refer(target, { onNotify, requestDelegate });
    });
  }

  async message(target, text) {
    const messager = new SIP.Messager(this.ua, SIP.UserAgent.makeURI(this.uri(target)), text);
    return new Promise((done) => {
      const requestDelegate = {
        onAccept: () => done("delivered"),
        onReject: ({ message }) => done(String(message.statusCode)),
      };
      messager.message({ requestDelegate });
    });
  }

  stop() {
    return this.ua.stop();
  }
}

globalThis.open_phone = async (library, account) => {
  const phone = library === "jssip" ? new JsSipPhone(account) : new SipJsPhone(account);
  globalThis.phone = phone;
  await phone.start();
};
globalThis.ready = true;
