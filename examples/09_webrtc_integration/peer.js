// A page's part of a call: one RTCPeerConnection, a tone for its microphone, and an ear on what it plays.

globalThis.peer = {
  candidates: [],
  heard: [],

  open(hz, video) {
    const context = new AudioContext();
    const tone = new OscillatorNode(context, { frequency: hz });
    const microphone = new MediaStreamAudioDestinationNode(context);
    tone.connect(new GainNode(context, { gain: 0.4 })).connect(microphone);
    tone.start();
    this.connection = new RTCPeerConnection();
    for (const track of microphone.stream.getTracks()) this.connection.addTrack(track, microphone.stream);
    if (video) this.connection.addTransceiver("video");
    this.connection.onicecandidate = ({ candidate }) => candidate && this.candidates.push(candidate.candidate);
    this.connection.ontrack = ({ track }) => track.kind === "audio" && this.listen(track);
  },

  async offer() {
    await this.connection.setLocalDescription(await this.connection.createOffer());
    return this.connection.localDescription.sdp;
  },

  async answer(sdp) {
    await this.connection.setRemoteDescription({ type: "offer", sdp });
    await this.connection.setLocalDescription(await this.connection.createAnswer());
    return this.connection.localDescription.sdp;
  },

  async accept(sdp) {
    await this.connection.setRemoteDescription({ type: "answer", sdp });
    return this.connection.signalingState;
  },

  // Every candidate of ours, once no other follows.
  async gathered() {
    while (this.connection.iceGatheringState !== "complete") await new Promise((later) => setTimeout(later, 10));
    return this.candidates;
  },

  // What ICE and DTLS came to, once they are through.
  async connected() {
    while (this.connection.connectionState !== "connected") {
      if (this.connection.connectionState === "failed") throw new Error("ICE or DTLS failed");
      await new Promise((later) => setTimeout(later, 10));
    }
    const stats = [...(await this.connection.getStats()).values()];
    const { tlsVersion, dtlsCipher, srtpCipher } = stats.find(({ type }) => type === "transport");
    return { tlsVersion, dtlsCipher, srtpCipher };
  },

  async listen(track) {
    const element = new Audio(); // Chromium decodes only what something plays.
    element.srcObject = new MediaStream([track]);
    element.play();
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      this.heard.push(...samples);
      this.heard.splice(0, this.heard.length - value.sampleRate * 0.3);
      this.rate = value.sampleRate;
      value.close();
    }
  },
};
