"""A conference of the embedded engine: each hears exactly the others, whatever codec each one speaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from unittest.mock import AsyncMock, MagicMock

import numpy as np
import pytest

from gateway.conference.room import Room, RoomSettings
from gateway.media.embedded.audio.codecs import read_audio
from gateway.media.embedded.audio.mixing import Loudest, Mix, Speakers, faded, power
from gateway.media.embedded.audio.pcm import Pcm, tone
from gateway.media.embedded.describe import SERVICE_DESCRIPTION
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.sources.chorus import Chorus
from gateway.media.embedded.sources.conference import Conference as MeetingRoom
from gateway.media.embedded.sources.conference import Round, Turn
from gateway.media.embedded.sources.conference import Seat as ConferenceSeat
from gateway.media.embedded.sources.packets import Injected
from gateway.media.embedded.sources.players import BEEP
from gateway.media.embedded.sources.program import FRAME, RATE, ProgramAudio
from gateway.media.engine import Conference, Kind, MediaError, Party, RecordingFile, Seat
from sdp import Codec
from tests.media.engine_support import Browser, Phone, config, running, until, written_down
from tests.media.tone_support import packet
from tests.rows import by_row

TONES = {"pcmu": 400.0, "g722": 700.0, "pcma": 1000.0, "opus": 1300.0}
PROGRAM = Party("program", Kind.SERVICE, service="program")


def heard_in(pcm: Pcm, rate: int, tones: Collection[float]) -> set[float]:
    """Which of these tones are in the last half second, each within 20 dB of the loudest."""
    last = pcm[-rate // 2 :].astype(float)
    if len(last) < rate // 2 or np.abs(last).max() < 100:
        return set()
    spectrum = np.abs(np.fft.rfft(last * np.hanning(len(last))))
    strengths = {each: float(spectrum[round(each / 2) - 4 : round(each / 2) + 5].max()) for each in tones}
    return {each for each, strength in strengths.items() if strength > 0.1 * max(spectrum)}


class Member:
    """A phone in a conference with a tone of its own."""

    def __init__(self, engine: EmbeddedEngine, conference: Conference, codec: str, name: str) -> None:
        self.engine, self.conference, self.codec, self.name = engine, conference, codec, name
        self.phone = Phone((codec, *{"pcmu", "pcma"} - {codec}))
        self.seat: Seat

    async def come(
        self, frequency: float | None = None, group: str | None = None, direction: str = "sendrecv"
    ) -> Member:
        await self.phone.open()
        await self.say(direction)
        self.seat = self.conference.seat(self.engine.audio(self.name, "program"), self.name, group)
        self.phone.play(frequency or TONES[self.codec], self.codec)
        return self

    async def say(self, direction: str) -> None:
        """Offer that; again: hold (sendonly), or resume."""
        party = Party("phone", Kind.RTP, private_source="127.0.0.1")
        await self.engine.offer(self.name, party, PROGRAM, self.phone.sdp(direction=direction))
        self.phone.take(await self.engine.answer(self.name, PROGRAM, party, SERVICE_DESCRIPTION))

    def hears(self, tones: Collection[float] = tuple(TONES.values())) -> set[float]:
        self.phone.packets = self.phone.packets[-100:]
        return heard_in(*self.phone.heard(self.codec, self.phone.numbers[self.codec]), tones)


@contextlib.asynccontextmanager
async def meeting(*codecs: str) -> AsyncIterator[tuple[EmbeddedEngine, Conference, list[Member]]]:
    """Phones that are in one conference."""
    async with running(config(max_packets_per_second=2000)) as (engine, _):
        conference = engine.conference()
        members = [await Member(engine, conference, codec, f"{n}-{codec}").come() for n, codec in enumerate(codecs)]
        try:
            yield engine, conference, members
        finally:
            for member in members:
                await member.phone.close()


async def test_each_hears_exactly_the_others() -> None:
    """By frequency, in four codecs; who is muted is not heard and hears the others, who leaves does neither."""
    async with meeting(*TONES) as (engine, _, members):
        everything = set(TONES.values())
        for member in members:
            await until(lambda member=member: member.hears() == everything - {TONES[member.codec]})
        members[0].seat.muted = True
        await until(lambda: members[1].hears() == {TONES["pcma"], TONES["opus"]})
        await until(lambda: members[0].hears() == everything - {TONES["pcmu"]})
        members[0].seat.muted = False
        members[2].seat.leave()
        members[2].seat.leave()
        await until(lambda: members[1].hears() == {TONES["pcmu"], TONES["opus"]})
        members[2].phone.packets.clear()
        members[1].phone.packets.clear()
        await until(lambda: len(members[1].phone.packets) >= 30)
        assert len(members[2].phone.packets) <= 2  # keep-alive
        for member in members:
            member.seat.leave()
            await engine.delete(member.name)
        assert engine.players == 0


async def test_who_puts_a_room_on_hold_is_not_heard_there() -> None:
    """A phone sends its own music then (`sendonly`), and says so again at each refresh; who comes back is heard."""
    async with meeting("pcmu", "g722", "pcma") as (_, _, (holder, other, _)):
        await until(lambda: other.hears() == {TONES["pcmu"], TONES["pcma"]})
        for _ in range(2):
            await holder.say("sendonly")
            await until(lambda: other.hears() == {TONES["pcma"]})
            await holder.say("sendonly")
            await asyncio.sleep(0.6)  # longer than what `hears` looks at
            assert other.hears() == {TONES["pcma"]}
            await holder.say("sendrecv")
            await until(lambda: other.hears() == {TONES["pcmu"], TONES["pcma"]})


@by_row(("moves", "resumes"), [(False, False), (True, False), (False, True)])
async def test_who_has_its_peer_on_hold_and_is_passed_on_to_a_room_is_not_heard_there(
    moves: bool, resumes: bool
) -> None:
    """It answers as before, with its music (`sendonly`), also by a transport or at a process that is new since."""
    hosts = (("127.0.0.1", None), ("::1", None))
    async with running(config(max_packets_per_second=2000, rtp_hosts=hosts)) as (engine, _):
        conference = engine.conference()
        a, b = Party("a", Kind.RTP), Party("b", Kind.RTP)
        async with contextlib.AsyncExitStack() as stack:
            phones = [Phone(ssrc=number) for number in range(3)]
            for phone, host in zip(phones, ("127.0.0.1", "127.0.0.1", "::1"), strict=True):
                await phone.open(host)
                stack.push_async_callback(phone.close)
            holder, held, moved = phones
            other = await Member(engine, conference, "g722", "other").come()
            stack.push_async_callback(other.phone.close)

            async def says(phone: Phone, direction: str) -> None:
                held.take(await engine.offer("call", a, b, phone.sdp(direction=direction)))
                phone.take(await engine.answer("call", b, a, held.sdp()))

            await says(holder, "sendrecv")
            await says(holder, "sendonly")
            if moves:
                holder = moved
                await says(holder, "sendonly")
            if resumes:
                values = written_down(engine)
                del engine._sessions["call"]
                await engine.resume("call", values)
            holder.play(TONES["pcmu"])
            await engine.isolate("call", "a")
            await engine.create_offer("call", PROGRAM, a)
            for direction in ("sendonly", "sendrecv"):
                holder.take(await engine.create_offer("call", a, PROGRAM))
                await engine.answer("call", a, None, holder.sdp(direction=direction))
                if direction == "sendonly":
                    await engine.join("call", "a", "program")
                    conference.seat(engine.audio("call", "program"), "a")
                    await asyncio.sleep(0.8)  # longer than what `hears` looks at
                    assert other.hears() == set()
            await until(lambda: other.hears() == {TONES["pcmu"]})


async def test_who_comes_to_speak_alone_is_heard() -> None:
    """`sendonly` of who never heard the room is no hold: an announcer, a microphone on the wall."""
    async with meeting("g722") as (engine, conference, (other,)):
        speaker = await Member(engine, conference, "pcmu", "speaker").come(direction="sendonly")
        try:
            await until(lambda: other.hears() == {TONES["pcmu"]})
            await speaker.say("sendonly")
            await asyncio.sleep(0.6)  # longer than what `hears` looks at
            assert other.hears() == {TONES["pcmu"]}
            await speaker.say("sendrecv")
            await speaker.say("sendonly")
            await until(lambda: other.hears() == set())
        finally:
            await speaker.phone.close()


def test_members_of_a_large_room_are_spoken_to_with_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opus of complexity 5 to the first eight, of 1 to those who come later where more may speak at once."""
    asked: list[int] = []
    monkeypatch.setattr("gateway.media.embedded.sources.conference.Mouth", lambda *each: asked.append(each[2]))
    for most in (0, 8, 9):
        room = MeetingRoom(MagicMock(), MagicMock(), MagicMock(), 1, most)
        for number in range(10):
            room.seat(ProgramAudio(), f"{number}").speak_to(MagicMock(), Codec("opus", 48000, 2, 107))
    assert asked == [5] * 8 + [1] * 2 + [5] * 10 + [5] * 8 + [1] * 2


async def test_who_is_kicked_is_read_no_more() -> None:
    """What it typed before waits for the others' line, and is not shown after it; who leaves by itself is read."""
    for is_kicked in (True, False):
        pacer, now = MagicMock(), 0.0
        room = Room(
            "r", RoomSettings(tones=False), MeetingRoom(pacer, MagicMock(), MagicMock()), lambda: 0.0, MagicMock(), bool
        )
        members, readers, audios = {}, dict[str, MagicMock](), dict[str, ProgramAudio]()
        hung_up = AsyncMock()
        for name in ("ann", "eve", "reader"):
            audio = audios[name] = ProgramAudio()
            audio.text.reader = readers[name] = MagicMock()
            session = MagicMock(identity=None)
            session.join = lambda conference, number, group, label, audio=audio: conference.seat(
                audio, number, group, label
            )
            session.hang_up = hung_up
            session.caller.display_name = name
            members[name] = room.enter(session)
        tick = pacer.add.call_args[0][0]
        audios["ann"].text.type("I ")
        tick(now)
        audios["eve"].text.type("rude\n")
        if is_kicked:
            await room.kick(members["eve"].id)
            audios["eve"].text.type("ruder\n")
            hung_up.assert_awaited_once_with()
        room.leave(members["eve"])
        audios["ann"].text.type("say\n")
        for _ in range(10):
            now += 1.0
            tick(now)
        read = "".join(call.args[0] for call in readers["reader"].type.call_args_list)
        assert read == "[ann] I say\u2028" + ("" if is_kicked else "[eve] rude\u2028")


async def test_a_browser_and_a_phone_meet_and_a_prompt_is_for_one_or_all() -> None:
    """Over DTLS-SRTP; what a program says to its caller the others do not hear, what is said to all they do."""
    async with meeting("pcmu") as (engine, conference, (member,)):
        browser, party = Browser(600.0), Party("browser", Kind.WEBRTC)
        try:
            await engine.offer("b", party, PROGRAM, await browser.offer())
            await browser.take_answer(await engine.answer("b", PROGRAM, party, SERVICE_DESCRIPTION))
            audio = engine.audio("b", "program")
            conference.seat(audio, "browser")
            await until(lambda: abs(browser.heard() - 400.0) < 8)
            tones = (400.0, 600.0, 2000.0, 2400.0)
            await until(lambda: member.hears(tones) == {600.0})
            audio.say(tone(2000.0, -10.0, RATE, 3.0).tobytes())
            await until(lambda: heard_in(np.concatenate(browser.frames), 48_000, tones) == {400.0, 2000.0})
            assert member.hears(tones) == {600.0}
            conference.say(tone(2400.0, -10.0, RATE, 3.0).tobytes())
            await until(lambda: member.hears(tones) == {600.0, 2400.0})
            with pytest.raises(MediaError):
                conference.seat(audio, "twice")
        finally:
            await browser.close()


async def test_one_group_does_not_hear_itself() -> None:
    """Who hears each other otherwise is not heard here a second time; the third hears both."""
    async with meeting("pcmu") as (engine, conference, (alone,)):
        pair = [Member(engine, conference, codec, codec) for codec in ("pcma", "g722")]
        try:
            for member in pair:
                await member.come(group="mesh")
            await until(lambda: alone.hears() == {TONES["pcma"], TONES["g722"]})
            for member in pair:
                await until(lambda member=member: member.hears() == {TONES["pcmu"]})
            silent = pair[0]  # hears what all the silent hear but those of its group who speak
            silent.seat.muted = True
            await until(lambda: silent.seat.speech.is_over)  # type: ignore[attr-defined]
            silent.phone.packets.clear()
            await until(lambda: len(silent.phone.packets) >= 60)
            assert silent.hears() == {TONES["pcmu"]}
            await until(lambda: alone.hears() == {TONES["g722"]})
        finally:
            for member in pair:
                await member.phone.close()


async def test_a_member_that_floods_or_sends_rubbish_hurts_nobody() -> None:
    """A thousand packets a second, half of them no audio: the others hear each other, and its memory is bounded."""
    async with meeting("opus", "pcmu", "g722") as (_, _, (rude, *others)):
        before = {member: {TONES["opus"], TONES["pcmu"], TONES["g722"]} - {TONES[member.codec]} for member in others}
        for member in others:
            await until(lambda member=member: member.hears() == before[member])
        number = rude.phone.numbers["opus"]
        assert number is not None
        for second in range(40):
            for _ in range(50):
                rude.phone.send(bytes([second, 255, 0, 7]) * 40, number, step=960)
            await asyncio.sleep(0.02)
        for member in others:
            member.phone.packets.clear()
            rest = before[member] - {TONES["opus"]}
            await until(lambda member=member, rest=rest: rest <= member.hears())
        assert len(rude.seat.came) <= 64  # type: ignore[attr-defined]


async def test_what_a_member_sends_while_no_round_runs_is_bounded() -> None:
    """The mixing thread is behind: of a thousand packets 64 wait."""
    async with running() as (engine, _):
        seat = engine.conference().seat(ProgramAudio(), "rude")
        assert isinstance(seat, ConferenceSeat)
        for number in range(1_000):
            seat.take("pcmu", packet(number, bytes(160)), 1.0)
        assert len(seat.came) == 64


class Listener:
    """Who hears the others."""

    hears = True

    def __init__(self) -> None:
        self.heard: list[Injected] = []

    def say(self, packet: Injected) -> None:
        self.heard.append(packet)


@pytest.mark.parametrize(("codec", "payload", "logged"), [("pcmu", b"", 0), ("unheard of", bytes(160), 1)])
async def test_a_packet_that_cannot_be_heard_silences_nobody_else(
    codec: str, payload: bytes, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Run after run of it, in one codec or in none; the log says it once."""
    async with running() as (engine, _):
        conference, listener = engine.conference(), Listener()
        rude, other = conference.seat(ProgramAudio(), "rude"), conference.seat(ProgramAudio(), "other")
        assert isinstance(other, ConferenceSeat)
        assert isinstance(rude, ConferenceSeat)
        other.speak_to(listener, Codec("PCMU", 8000, payload_type=0))
        rounds = 0
        for generation in range(6):
            came = [(codec, packet(1, payload, generation=generation), 1.0 + generation)]
            turns = [
                Turn(seat, False, tuple(packets), (None,), seat.mouth, True)
                for seat, packets in ((rude, came), (other, []))
            ]
            made = Round(tuple(turns), (None,), (1.0 + generation,), Chorus(), Speakers()).make()
            rounds += len(made.packets)
        assert rounds == 6
    assert len([each for each in caplog.records if each.name == "gateway.media.conference"]) == logged


async def test_a_member_whose_packets_are_empty_hurts_nobody() -> None:
    """G.711 without one sample, among what the others say."""
    async with meeting("pcmu", "pcma", "g722") as (_, _, (rude, *others)):
        number = rude.phone.numbers["pcmu"]
        assert number is not None
        await until(lambda: TONES["pcmu"] in others[0].hears())
        for _ in range(50):
            rude.phone.send(b"", number)
            await asyncio.sleep(0.01)
        for member, wanted in zip(others, ({TONES["g722"]}, {TONES["pcma"]}), strict=True):
            member.phone.packets.clear()
            await until(lambda member=member, wanted=wanted: wanted <= member.hears())


async def test_who_vanishes_is_silent_and_the_others_go_on() -> None:
    """No packet more of one phone, and no delete either; then its call ends with the place still taken."""
    async with meeting("pcmu", "pcma", "g722") as (engine, _, (gone, *others)):
        await until(lambda: others[0].hears() == {TONES["pcmu"], TONES["g722"]})
        await gone.phone.close()
        await until(lambda: others[0].hears() == {TONES["g722"]})
        await engine.delete(gone.name)
        await until(lambda: others[1].hears() == {TONES["pcma"]})
        gone.seat.leave()
        await until(lambda: others[1].hears() == {TONES["pcma"]})


async def test_a_recording_is_begun_anew_while_the_one_before_is_written(tmp_path: Path) -> None:
    """Each file is finished, and has what was said in its time."""
    async with meeting("pcmu") as (_, conference, _):
        ended = asyncio.Queue[str | None]()
        paths = [tmp_path / f"{number}.wav" for number in range(2)]
        for path in paths:
            recording = conference.record(RecordingFile(path=str(path), channels=1), ended.put_nowait)
            await until(lambda recording=recording: recording.seconds >= 0.4)
            recording.stop()
        for _ in paths:
            assert await asyncio.wait_for(ended.get(), 30) is None
        for path in paths:
            assert 0.3 <= len(read_audio(str(path), RATE, 5.0)) / RATE <= 2.0


def beeps(member: Member) -> float:
    """Seconds in which the member hears the tone that says that it is recorded."""
    pcm, rate = member.phone.heard(member.codec, member.phone.numbers[member.codec])
    size, found = rate // 10, 0
    for start in range(0, len(pcm) - size, size):
        spectrum = np.abs(np.fft.rfft(pcm[start : start + size].astype(float) * np.hanning(size)))
        found += bool(spectrum[BEEP // 10] > 0.2 * spectrum.max() > 0)
    return found / 10


@pytest.mark.parametrize("beep", [True, False])
async def test_members_hear_that_they_are_recorded(tmp_path: Path, beep: bool) -> None:
    """Who is there as it begins, and who comes in while it goes on; nobody after its end."""
    async with meeting("pcmu", "pcma") as (engine, conference, members):
        await until(lambda: members[0].hears() == {TONES["pcma"]})
        for member in members:
            member.phone.packets.clear()
        ended: asyncio.Queue[str | None] = asyncio.Queue()
        recording = conference.record(RecordingFile(path=str(tmp_path / "room.wav"), beep=beep), ended.put_nowait)
        await until(lambda: recording.seconds >= 1)
        assert [beeps(member) > 0 for member in members] == [beep] * 2
        for member in members:
            member.phone.packets.clear()
        members.append(await Member(engine, conference, "g722", "late").come())
        await until(lambda: len(members[2].phone.packets) >= 60)
        assert [beeps(member) > 0 for member in members] == [False, False, beep]
        recording.stop()
        await asyncio.wait_for(ended.get(), 30)
        members.append(await Member(engine, conference, "pcmu", "later").come())
        await until(lambda: len(members[3].phone.packets) >= 60)
        assert beeps(members[3]) == 0


async def test_a_room_that_has_much_to_say_is_recorded_and_tells_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beep waits until there is room for it, the recording does not."""
    async with meeting("pcmu") as (_, conference, [member]):
        # What waits to be said is not said meanwhile, or there would be room when nobody looks.
        monkeypatch.setattr(conference._voice, "next", lambda: None)  # type: ignore[attr-defined]
        with contextlib.suppress(MediaError):
            while True:
                conference.say(bytes(2 * RATE))
        ended: asyncio.Queue[str | None] = asyncio.Queue()
        recording = conference.record(RecordingFile(path=str(tmp_path / "room.wav"), beep=True), ended.put_nowait)
        await until(lambda: recording.seconds >= 0.4)
        assert beeps(member) == 0
        conference._voice.clear()  # type: ignore[attr-defined]
        monkeypatch.undo()
        await until(lambda: beeps(member) > 0)
        recording.stop()
        await asyncio.wait_for(ended.get(), 30)


async def test_a_recording_of_it_holds_every_tone(tmp_path: Path) -> None:
    """Read back by frequency; it ends with the conference, and a second one meanwhile is refused."""
    async with meeting(*TONES) as (_, conference, members):
        await until(lambda: members[0].hears() == set(TONES.values()) - {TONES["pcmu"]})
        ended: asyncio.Queue[str | None] = asyncio.Queue()
        path = str(tmp_path / "room.wav")
        wanted = RecordingFile(path=path)
        recording = conference.record(wanted, ended.put_nowait)
        with pytest.raises(MediaError):
            conference.record(wanted, ended.put_nowait)
        await until(lambda: recording.seconds >= 1.5)
        conference.close()
        assert await asyncio.wait_for(ended.get(), 30) is None
        assert heard_in(read_audio(path, RATE, 60), RATE, TONES.values()) == set(TONES.values())


async def test_the_loudest_speaker_is_told() -> None:
    """Each time it is another, and when it is silent."""
    async with meeting("pcmu") as (_, conference, (member,)):
        speakers: asyncio.Queue[str | None] = asyncio.Queue()
        conference.on_speaker(speakers.put_nowait)
        assert await asyncio.wait_for(speakers.get(), 30) == member.name
        member.seat.muted = True
        assert await asyncio.wait_for(speakers.get(), 30) is None
        member.seat.muted = False
        assert await asyncio.wait_for(speakers.get(), 30) == member.name


def test_too_much_at_once_is_clipped_and_not_wrapped() -> None:
    """Ten at full level: the loudest sample there is, with its sign."""
    mix = Mix(FRAME)
    loud = np.where(np.arange(FRAME) % 2, 32767, -32768).astype(np.int16)
    for number in range(10):
        mix.add(loud, str(number))
    assert np.array_equal(mix.without("0"), loud)
    assert np.array_equal(mix.all, loud)


def test_who_is_a_little_louder_is_not_mixed_in_the_place_of_another() -> None:
    """Three dB more are needed; a free place is had at once, and one that somebody has left by the next."""
    speakers, level = Speakers(2), power(tone(440, -20, RATE, 0.02))
    assert speakers.choose({"a": level}) == {"a": (1.0, 1.0)}
    assert speakers.choose({"a": level, "b": level}) == dict.fromkeys("ab", (1.0, 1.0))
    for _ in range(100):
        assert speakers.choose({"c": 1.5 * level, "a": level, "b": level}) == dict.fromkeys("ab", (1.0, 1.0))
    seen = [speakers.choose({"c": 4 * level, "a": level, "b": 1.5 * level}) for _ in range(50)]
    assert {"a": (1.0, 0.0), "b": (1.0, 1.0), "c": (0.0, 1.0)} in seen
    assert [set(each) for each in seen].count({"a", "b", "c"}) == 1
    assert seen[-1] == dict.fromkeys("bc", (1.0, 1.0))
    assert speakers.choose({"a": level, "c": 4 * level}) == {"a": (0.0, 1.0), "c": (1.0, 1.0)}
    assert speakers.choose({}) == {}
    everybody = {f"{number}": level for number in range(50)}
    assert set(Speakers().choose(everybody)) == set(everybody)
    assert set(Speakers(8).choose(everybody)) == {f"{number}" for number in range(8)}


def test_who_makes_room_for_another_does_not_click() -> None:
    """From as it is to nothing, or the other way, in 20 ms."""
    loud = np.full(FRAME, 30_000, np.int16)
    assert faded(loud, (1.0, 1.0)) is loud
    out, come = faded(loud, (1.0, 0.0)), faded(loud, (0.0, 1.0))
    assert (out[0], out[-1], come[0], come[-1]) == (30_000, 0, 0, 30_000)
    assert np.abs(np.diff(out.astype(int))).max() < 100
    assert out.dtype == np.int16


def test_who_is_a_little_louder_does_not_take_the_word() -> None:
    """Three dB more are needed; after a second and a half of silence nobody has it."""
    loudest = Loudest()
    level = power(tone(440, -20, RATE, 0.02))
    assert loudest.hear({"a": level, "b": 0.0})
    assert loudest.speaker == "a"
    assert not any(loudest.hear({"a": level, "b": 1.5 * level}) for _ in range(100))
    assert any(loudest.hear({"a": level, "b": 4 * level}) for _ in range(100))
    assert loudest.speaker == "b"
    assert [loudest.hear({"a": 0.0, "b": 0.0}) for _ in range(300)].count(True) == 1
    assert loudest.speaker is None
