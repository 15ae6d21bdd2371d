"""A desk phone in a process of its own: pjsua2 driven by JSON lines on standard input.

Run as `python -m gateway.demo.phone_process`. Commands come as {"do": ...}, events go out as
{"event": ..., "at": monotonic seconds}. pjsua2 is GPL: it is only ever spoken to through this pipe.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pjsua2 as pj

from gateway.demo.tones import Listener

RATE = 16000
FRAME = 320
"""Samples in 20 ms."""

STATES = {
    pj.PJSIP_INV_STATE_CALLING: "calling",
    pj.PJSIP_INV_STATE_INCOMING: "incoming",
    pj.PJSIP_INV_STATE_EARLY: "ringing",
    pj.PJSIP_INV_STATE_CONNECTING: "connecting",
    pj.PJSIP_INV_STATE_CONFIRMED: "answered",
    pj.PJSIP_INV_STATE_DISCONNECTED: "ended",
}


_OUT = os.dup(sys.stdout.fileno()) if __name__ == "__main__" else sys.stdout.fileno()
"""Our own line to the parent: pjlib prints its banner on standard output before it can be told not to."""


def say(event: str, **details: Any) -> None:
    """Write one event line; a parent that is gone ends us at the next read."""
    line = json.dumps({"event": event, "at": time.monotonic(), **details})
    os.write(_OUT, (line + "\n").encode())


class Ear(pj.AudioMediaPort):  # type: ignore[misc]  # pjsua2 ships no types
    """Hears what the far end sends."""

    def __init__(self) -> None:
        super().__init__()
        self.listener = Listener(RATE)
        self._told_sound = False
        self._told_tone = False
        form = pj.MediaFormatAudio()
        form.init(pj.PJMEDIA_FORMAT_PCM, RATE, 1, 20000, 16)
        self.createPort("ear", form)

    def onFrameReceived(self, frame: Any) -> None:
        """pjmedia's clock thread delivers 20 ms."""
        if not frame.size:
            return
        now = time.monotonic()
        samples = np.frombuffer(bytes(bytearray(frame.buf)), dtype=np.int16)
        self.listener.hear(samples, now)
        if self.listener.first_sound is not None and not self._told_sound:
            self._told_sound = True
            say("sound")
        if not self._told_tone and (hz := self.listener.tone()) is not None:
            self._told_tone = True
            say("tone", hz=hz)

    def forget(self) -> None:
        self.listener.forget()
        self._told_sound = self._told_tone = False


class PhoneCall(pj.Call):  # type: ignore[misc]  # pjsua2 ships no types
    """One call of the phone, in either direction."""

    def __init__(self, phone: Phone, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(phone.account, call_id)
        self.phone = phone

    def onCallState(self, prm: Any) -> None:
        info = self.getInfo()
        say("state", state=STATES.get(info.state, "other"), code=info.lastStatusCode, reason=info.lastReason)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.phone.over.append(self)
            if self.phone.call is self:
                self.phone.call = None
            if self.phone.held is self:
                self.phone.held = None

    def onCallMediaState(self, prm: Any) -> None:
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_LOCAL_HOLD:
                say("held")
            if media.type != pj.PJMEDIA_TYPE_AUDIO or media.status != pj.PJSUA_CALL_MEDIA_ACTIVE:
                continue
            audio = self.getAudioMedia(index)
            self.phone.mouth.startTransmit(audio)
            audio.startTransmit(self.phone.ear)
            say("media", codec=self.getStreamInfo(index).codecName)

    def onCallTransferRequest(self, prm: Any) -> None:
        # pjsua2 calls by itself whom it was told; calls that nobody refers to are hung up.
        self.phone.held, self.phone.call = self, PhoneCall(self.phone)
        self.phone.ear.forget()
        prm.newCall = self.phone.call
        say("transferred", uri=prm.dstUri)

    def onCallTransferStatus(self, prm: Any) -> None:
        say("transfer", code=prm.statusCode, final=prm.finalNotify)

    def onDtmfDigit(self, prm: Any) -> None:
        say("digit", digit=prm.digit)

    def onCallTsxState(self, prm: Any) -> None:
        transaction = prm.e.body.tsxState.tsx
        if transaction.state == pj.PJSIP_TSX_STATE_COMPLETED:
            name = "asked" if transaction.role == pj.PJSIP_ROLE_UAS else "told"
            say(name, method=transaction.method, code=transaction.statusCode)


class PhoneAccount(pj.Account):  # type: ignore[misc]  # pjsua2 ships no types
    """The phone's registration, and where calls come in."""

    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self.phone = phone

    def onRegState(self, prm: Any) -> None:
        say("registration", code=prm.code, reason=prm.reason, expires=prm.expiration)

    def onInstantMessage(self, prm: Any) -> None:
        say("message", uri=prm.fromUri, content_type=prm.contentType, text=prm.msgBody)

    def onInstantMessageStatus(self, prm: Any) -> None:
        say("message_status", code=prm.code, text=prm.msgBody)

    def onMwiInfo(self, prm: Any) -> None:
        say("mailbox", message=prm.rdata.wholeMsg)

    def onIncomingCall(self, prm: Any) -> None:
        # What we were told before somebody was told to call us comes first.
        self.phone.catch_up()
        call = PhoneCall(self.phone, prm.callId)
        info = call.getInfo()
        if self.phone.call is not None:
            self.phone.reply(call, 486)
            return
        self.phone.call = call
        self.phone.ear.forget()
        say("incoming", uri=info.remoteUri, call_id=info.callIdString)
        code = self.phone.answer_with
        if code:
            self.phone.reply(call, 180)
            self.phone.reply(call, code)


class Contact(pj.Buddy):  # type: ignore[misc]  # pjsua2 ships no types
    """Somebody the phone watches, or writes to."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.uri = uri

    def onBuddyState(self) -> None:
        info = self.getInfo()
        status = info.presStatus
        say(
            "presence",
            uri=self.uri,
            state=info.subStateName,
            online=status.status == pj.PJSUA_BUDDY_STATUS_ONLINE,
            activity=status.activity,
            note=status.note,
            reason=info.subTermReason,
        )


class Phone:
    """The endpoint with one account, one ear, one mouth."""

    def __init__(self, port: int) -> None:
        self.call: PhoneCall | None = None
        self.held: PhoneCall | None = None
        """The call on hold while the phone has another one."""
        self.contacts: dict[str, Contact] = {}
        self.over: list[PhoneCall] = []
        self.catch_up: Callable[[], object] = lambda: None
        """Obeys the commands that have come already; set by what reads them."""
        self.registered = False
        self.answer_with = 200
        """Status an incoming call is answered with at once; 0 lets it ring until told."""
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.userAgent = "pjsua2 desk phone"
        config.logConfig.level = int(os.environ.get("PHONE_LOG_LEVEL", "0"))
        config.logConfig.consoleLevel = config.logConfig.level
        config.medConfig.clockRate = RATE
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        self.endpoint.libInit(config)
        transport = pj.TransportConfig()
        transport.port = port
        transport.boundAddress = "127.0.0.1"
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        self.account = PhoneAccount(self)
        self.ear = Ear()
        self.mouth = pj.ToneGenerator()
        self.mouth.createToneGenerator(RATE, 1)

    def register(
        self, user: str, domain: str, registrar: str = "", password: str = "", expires: int = 300, mailbox: bool = False
    ) -> None:
        """Set up the one account; without a registrar ("host:port") it only makes and takes direct calls.

        With `mailbox` it asks how many messages wait.
        """
        config = pj.AccountConfig()
        config.idUri = f"sip:{user}@{domain}"
        if registrar:
            config.regConfig.registrarUri = f"sip:{domain}"
            config.regConfig.timeoutSec = expires
            config.sipConfig.proxies.append(f"sip:{registrar};lr")
            config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
        config.mwiConfig.enabled = mailbox
        config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
        config.mediaConfig.transportConfig.port = 0
        # 1: keys beside plain RTP (RFC 8643), and SRTP where it is offered; SIP need not be by TLS.
        config.mediaConfig.srtpUse = int(os.environ.get("PHONE_SRTP", "0"))
        config.mediaConfig.srtpSecureSignaling = 0
        self.account.create(config)
        self.config = config
        self.registered = True
        say("account", user=user)

    def unregister(self) -> None:
        self.account.setRegistration(False)

    def speak(self, hz: int) -> None:
        """Say a steady tone into every call from now on."""
        self.mouth.stop()
        tone = pj.ToneDesc()
        tone.freq1, tone.freq2, tone.on_msec, tone.off_msec = hz, 0, 1000, 0
        tones = pj.ToneDescVector()
        tones.append(tone)
        self.mouth.play(tones, True)

    def codecs(self, names: list[str]) -> None:
        """Use only these codecs, best first ("PCMU", "PCMA", "G722", "opus")."""
        for codec in self.endpoint.codecEnum2():
            name = codec.codecId.partition("/")[0].lower()
            wanted = [wish.lower() for wish in names]
            self.endpoint.codecSetPriority(codec.codecId, 250 - wanted.index(name) if name in wanted else 0)

    def dial(self, uri: str) -> None:
        self.ear.forget()
        self.call = PhoneCall(self)
        self.call.makeCall(uri, pj.CallOpParam(True))

    def reply(self, call: PhoneCall, code: int) -> None:
        prm = pj.CallOpParam()
        prm.statusCode = code
        call.answer(prm)

    def answer(self, code: int = 200) -> None:
        if self.call is not None:
            self.reply(self.call, code)

    def hangup(self) -> None:
        if self.call is not None:
            self.call.hangup(pj.CallOpParam())

    def hold(self) -> None:
        if self.call is not None:
            self.call.setHold(pj.CallOpParam())

    def unhold(self) -> None:
        if self.call is not None:
            prm = pj.CallOpParam(True)
            prm.opt.flag = pj.PJSUA_CALL_UNHOLD
            self.call.reinvite(prm)

    def update(self) -> None:
        """Refresh the session."""
        if self.call is not None:
            self.call.update(pj.CallOpParam(True))

    def consult(self, uri: str) -> None:
        """Hold the call and make another one."""
        self.hold()
        self.held = self.call
        self.dial(uri)

    def transfer(self, uri: str) -> None:
        """Pass the call on to somebody, without asking that one first."""
        if self.call is not None:
            self.call.xfer(uri, pj.CallOpParam(True))

    def connect(self) -> None:
        """Have the two it talks with talk with each other."""
        if self.call is not None and self.held is not None:
            self.held.xferReplaces(self.call, pj.CallOpParam(True))

    def contact(self, uri: str) -> Contact:
        """The entry of the phone's book, made when it is not there."""
        if uri not in self.contacts:
            config = pj.BuddyConfig()
            config.uri = uri
            self.contacts[uri] = Contact(uri)
            self.contacts[uri].create(self.account, config)
        return self.contacts[uri]

    def write(self, uri: str, text: str) -> None:
        """Send an instant message."""
        prm = pj.SendInstantMessageParam()
        prm.content = text
        self.contact(uri).sendInstantMessage(prm)

    def appear(self, activity: str, note: str) -> None:
        """Publish how the phone's user is: "away" or "busy", else just there."""
        status = pj.PresenceStatus()
        status.status = pj.PJSUA_BUDDY_STATUS_ONLINE
        status.activity = {"away": pj.PJRPID_ACTIVITY_AWAY, "busy": pj.PJRPID_ACTIVITY_BUSY}.get(activity, 0)
        status.note = note
        config = self.config
        if not config.presConfig.publishEnabled:
            config.presConfig.publishEnabled = True
            self.account.modify(config)
        self.account.setOnlineStatus(status)

    def watch(self, uri: str, wanted: bool = True) -> None:
        """Subscribe to somebody's presence, or no more."""
        self.contact(uri).subscribePresence(wanted)

    def digits(self, digits: str, method: str) -> None:
        if self.call is not None:
            wanted = pj.CallSendDtmfParam()
            wanted.digits, wanted.duration = digits, 160
            wanted.method = pj.PJSUA_DTMF_METHOD_SIP_INFO if method == "info" else pj.PJSUA_DTMF_METHOD_RFC2833
            self.call.sendDtmf(wanted)

    def listen(self) -> None:
        self.ear.forget()
        say("listening")

    def incoming(self, code: int) -> None:
        self.answer_with = code

    def close(self) -> None:
        self.endpoint.hangupAllCalls()
        self.contacts.clear()
        self.over.clear()
        self.call = self.held = None
        self.endpoint.libDestroy()


_REGISTRATION = ("register", "unregister", "incoming")
_CALL = ("dial", "answer", "hangup", "hold", "unhold", "update", "digits", "consult", "transfer", "connect")
_SOUND = ("speak", "codecs", "listen")
_PEOPLE = ("write", "watch", "appear")
COMMANDS = frozenset((*_REGISTRATION, *_CALL, *_SOUND, *_PEOPLE))
_WAITING = frozenset(("hold", "unhold", "update"))
"""What waits for the end of a re-INVITE that is under way."""
_UNDER_WAY: Final = 70013
"""PJ_EINVALIDOP, pjsua2's status where one is."""
_PATIENCE: Final = 10.0
"""Seconds that a command waits at most."""


def obey(phone: Phone, line: bytes, since: float) -> bool | None:
    """Do one command of the time `since`, monotonic seconds; False at "quit", None where it has to wait.

    A command pjsua2 refuses is reported, not fatal.
    """
    command = json.loads(line)
    verb = command.pop("do")
    if verb == "quit":
        return False
    if verb not in COMMANDS or (verb == "dial" and not phone.registered):
        say("refused", verb=verb, reason="unknown command, or no account yet")
        return True
    try:
        getattr(phone, verb)(**command)
    except pj.Error as error:
        if verb in _WAITING and error.status == _UNDER_WAY and time.monotonic() < since + _PATIENCE:
            return None
        say("refused", verb=verb, reason=error.reason)
    return True


class Commands:
    """The lines on standard input, obeyed as they come."""

    def __init__(self, phone: Phone) -> None:
        self.running = True
        self._phone = phone
        self._pending = b""
        self._lines: deque[tuple[float, bytes]] = deque()
        phone.catch_up = self.obey_pending

    def obey_pending(self) -> None:
        """Do everything that has come so far, in its order; never waits."""
        source = sys.stdin.fileno()
        ended = False
        while not ended and select.select([source], [], [], 0)[0]:
            chunk = os.read(source, 65536)
            ended = not chunk
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            self._lines.extend((time.monotonic(), line) for line in lines if line)
        while self.running and self._lines:
            since, line = self._lines.popleft()
            going_on = obey(self._phone, line, since)
            if going_on is None:
                self._lines.appendleft((since, line))
                break
            self.running = going_on
        self.running = self.running and not ended


def main() -> None:
    """Serve commands until "quit" or the end of standard input."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    phone = Phone(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    commands = Commands(phone)
    say("ready")
    while commands.running:
        phone.endpoint.libHandleEvents(5)
        phone.over.clear()
        commands.obey_pending()
    phone.close()
    # pjlib's own atexit handlers crash in some builds once everything is destroyed.
    os._exit(0)


if __name__ == "__main__":
    main()
