// A small client for POST /webrtc/offer and its companions, for pages and for Node.
// Same names and promises as the WebRTCSDPClient of the RustPBX guide.

(function (root) {
  "use strict";

  const DEFAULT_TIMEOUT_MS = 30_000;

  class WebRTCSDPClient {
    /** `options`: timeout in ms, further request headers (Authorization, for example). */
    constructor(baseUrl, { timeout = DEFAULT_TIMEOUT_MS, headers = {} } = {}) {
      this.baseUrl = baseUrl.replace(/\/+$/, "");
      this.timeout = timeout;
      this.headers = headers;
    }

    /** `to` names who is called; without it, the gateway's echo. */
    async sendOffer(offerSdp, sessionId = null, metadata = null, to = null) {
      const body = { sdp: { type: "offer", sdp: offerSdp } };
      if (sessionId !== null) body.session_id = sessionId;
      if (metadata !== null) body.metadata = metadata;
      if (to !== null) body.to = to;
      const response = await this.#request("POST", "/webrtc/offer", body);
      return {
        sessionId: response.session_id,
        answerSdp: response.sdp.sdp,
        iceCandidates: response.ice_candidates ?? [],
        metadata: response.metadata,
      };
    }

    /** `candidate`: an RTCIceCandidate or its JSON; null or "" ends the list. */
    sendIceCandidate(sessionId, candidate) {
      const { candidate: line = "", sdpMLineIndex = null, sdpMid = null } = candidate || {};
      const body = { session_id: sessionId, candidate: { candidate: line, sdpMLineIndex, sdpMid } };
      return this.#request("POST", "/webrtc/ice-candidate", body);
    }

    closeSession(sessionId, reason = null) {
      const body = { session_id: sessionId };
      if (reason !== null) body.reason = reason;
      return this.#request("POST", "/webrtc/close", body);
    }

    getIceServers() {
      return this.#request("GET", "/iceservers");
    }

    async exchangeSdp(offerSdp) {
      const { sessionId, answerSdp } = await this.sendOffer(offerSdp);
      return { sessionId, answerSdp };
    }

    /** An offer, then candidates one by one; one that fails is no reason to give up. */
    async setupSession(offerSdp, candidates = []) {
      const { sessionId, answerSdp } = await this.sendOffer(offerSdp);
      for (const candidate of candidates) {
        try {
          await this.sendIceCandidate(sessionId, candidate);
        } catch (error) {
          console.warn("An ICE candidate was not taken:", /** @type {Error} */ (error).message);
        }
      }
      return { sessionId, answerSdp };
    }

    /**
     * Close `pc` as soon as the gateway has ended its call: the DTLS transport is told at once (close_notify), while
     * browsers leave `connectionState` at "connected" until ICE has missed its answers for some seconds.
     */
    static follow(pc) {
      const transport = [...pc.getSenders(), ...pc.getReceivers()].map((end) => end.transport).find(Boolean);
      transport?.addEventListener("statechange", () => transport.state === "closed" && pc.close());
    }

    async #request(method, path, body) {
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), this.timeout);
      try {
        const response = await fetch(this.baseUrl + path, {
          method,
          headers: { ...(body && { "Content-Type": "application/json" }), ...this.headers },
          body: body && JSON.stringify(body),
          signal: abort.signal,
        });
        const answer = await response.json().catch(() => null);
        if (!response.ok) throw failure(answer, response.status);
        return answer;
      } catch (error) {
        throw /** @type {Error} */ (error).name === "AbortError" ? new Error("Request timeout") : error;
      } finally {
        clearTimeout(timer);
      }
    }
  }

  function failure(answer, status) {
    const { code = status, session_id: sessionId, cause, error = `HTTP ${status}` } = answer ?? {};
    return Object.assign(new Error(error), { code, sessionId, cause });
  }

  /** Each method sets up a connection and gives {pc, sessionId, ...}; `cleanup` ends them. */
  class WebRTCSDPExamples {
    constructor(client) {
      this.client = client;
    }

    async basicPeerConnection() {
      const pc = await this.#withMicrophone();
      await pc.setLocalDescription(await pc.createOffer());
      return this.#exchange(pc);
    }

    /** Waits for all candidates, so that the offer carries them. */
    async advancedPeerConnection() {
      const pc = await this.#withMicrophone();
      const gathered = new Promise((resolve) => {
        pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve(null));
      });
      await pc.setLocalDescription(await pc.createOffer());
      await gathered;
      return this.#exchange(pc);
    }

    /**
     * A data channel and some metadata, which the answer echoes. The gateway carries calls, so the offer has audio
     * to listen to as well; where it has no data channels, the answer refuses that part and the channel stays closed.
     */
    async metadataExample() {
      const pc = new RTCPeerConnection({ iceServers: await this.client.getIceServers() });
      pc.addTransceiver("audio", { direction: "recvonly" });
      const dataChannel = pc.createDataChannel("chat", { ordered: true });
      await pc.setLocalDescription(await pc.createOffer());
      const metadata = { userId: "user123", callType: "data", startedAt: new Date().toISOString() };
      return { ...(await this.#exchange(pc, metadata)), dataChannel };
    }

    /** Three calls at once, each with a tone of its own; gives those that came up. */
    async concurrentSessions() {
      const outcomes = await Promise.allSettled([440, 550, 660].map((pitch) => this.#withTone(pitch)));
      return outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    }

    /** The session first: once its media has gone, the gateway has ended it by itself. */
    async cleanup(connections) {
      await Promise.allSettled(
        connections.filter(Boolean).map(async ({ pc, sessionId, audio }) => {
          try {
            await this.client.closeSession(sessionId, "cleanup");
          } finally {
            for (const sender of pc.getSenders()) sender.track?.stop();
            pc.close();
            await audio?.close();
          }
        }),
      );
    }

    async #withMicrophone() {
      const pc = new RTCPeerConnection({ iceServers: await this.client.getIceServers() });
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      for (const track of stream.getTracks()) pc.addTrack(track, stream);
      return pc;
    }

    async #withTone(pitch) {
      const pc = new RTCPeerConnection({ iceServers: await this.client.getIceServers() });
      const audio = new AudioContext();
      const tone = new OscillatorNode(audio, { frequency: pitch });
      const output = audio.createMediaStreamDestination();
      tone.connect(output);
      tone.start();
      for (const track of output.stream.getTracks()) pc.addTrack(track, output.stream);
      await pc.setLocalDescription(await pc.createOffer());
      return { ...(await this.#exchange(pc)), audio };
    }

    /** @param {RTCPeerConnection} pc @param {object | null} metadata */
    async #exchange(pc, metadata = null) {
      const answer = await this.client.sendOffer(pc.localDescription?.sdp, null, metadata);
      await pc.setRemoteDescription({ type: "answer", sdp: answer.answerSdp });
      WebRTCSDPClient.follow(pc);
      return { pc, sessionId: answer.sessionId, metadata: answer.metadata };
    }
  }

  root.WebRTCSDPClient = WebRTCSDPClient;
  root.WebRTCSDPExamples = WebRTCSDPExamples;
  if (typeof module !== "undefined" && module.exports) module.exports = { WebRTCSDPClient, WebRTCSDPExamples };
})(typeof window !== "undefined" ? window : globalThis);
