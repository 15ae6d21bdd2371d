"""What two phones with screens are told of each other's pictures by RTCP: key frames, losses, limits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.feedback import (
    bit_rate_limit,
    fir_entry,
    fir_sources,
    lost_entries,
    lost_numbers,
    read_bit_rate_limit,
    read_temporary_limit,
    temporary_limit,
)
from gateway.media.embedded.plane.packet import RtpPacket
from gateway.media.embedded.plane.rtcp import (
    FIR,
    NACK,
    PLI,
    PSFB,
    RTPFB,
    TMMBN,
    TMMBR,
    Bye,
    Feedback,
    ReceiverReport,
    ReportBlock,
    parse_compound,
)
from gateway.media.embedded.settings import VideoConfig
from gateway.media.embedded.video import VideoStream
from gateway.media.engine import KeyFrameWanted, Kind, MediaError, Party
from tests.media.engine_support import config, running, until
from tests.media.video_support import VideoPhone, sending
from tests.rows import by_row

ONE, OTHER = (Party(tag, Kind.RTP, private_source="127.0.0.1") for tag in ("one", "other"))
PLI_SAID = ("a=rtcp-fb:* nack pli",)


class Call:
    """Two phones; `one` has called, and both show something."""

    def __init__(self, engine: EmbeddedEngine, one: VideoPhone, other: VideoPhone) -> None:
        self.engine, self.one, self.other = engine, one, other
        self.wanted: list[str] = []
        engine.subscribe(lambda event: self.wanted.append(event.tag) if isinstance(event, KeyFrameWanted) else None)

    async def up(self) -> None:
        offer = await self.engine.offer("call", ONE, OTHER, self.one.sdp())
        self.other.take(offer)
        self.one.take(await self.engine.answer("call", OTHER, ONE, self.other.sdp()))
        self.one.show()
        self.other.show()
        await until(lambda: all(self.stream(tag).source for tag in ("one", "other")))
        await until(lambda: self.one.packets and self.other.packets)

    def stream(self, tag: str) -> VideoStream:
        """What the engine holds of that phone's picture."""
        found = self.engine._sessions["call"].party(tag).video
        assert found is not None
        return found

    def source(self, phone: VideoPhone) -> int:
        """The SSRC that this phone hears."""
        return RtpPacket.parse(phone.packets[0]).ssrc

    def asks(self, phone: VideoPhone, message: Feedback) -> None:
        phone.send_rtcp(bytes(ReceiverReport(0x77)) + bytes(message))


def feedback(phone: VideoPhone, form: int, packet_type: int = PSFB) -> list[Feedback]:
    """What the phone was told of that kind."""
    heard = [each for data in phone.rtcp for each in parse_compound(data)]
    return [
        each for each in heard if isinstance(each, Feedback) and (each.packet_type, each.format) == (packet_type, form)
    ]


@contextlib.asynccontextmanager
async def call(
    said: tuple[str, ...] = PLI_SAID,
    video: VideoConfig | None = None,
    bandwidth: str = "",
    profile: str = "RTP/AVPF",
) -> AsyncIterator[Call]:
    """A call whose `one` says this of feedback, by this profile; `other` says this b= line, and no feedback."""
    async with running(config(video=video or VideoConfig(key_frame_interval=0.1))) as (engine, _):
        one = await VideoPhone(60, profile=profile, extra=said).open()
        other = await VideoPhone(200, bandwidth=bandwidth).open()
        made = Call(engine, one, other)
        try:
            await made.up()
            yield made
        finally:
            await one.close()
            await other.close()


@by_row("form", [PLI, FIR])
async def test_a_key_frame_is_asked_for_in_the_way_that_its_sender_takes(form: int) -> None:
    """PLI where that was agreed, FIR where that alone was, and every request once within the shortest time."""
    said = PLI_SAID if form == PLI else ("a=rtcp-fb:* ccm fir",)
    async with call(said) as made:
        before = len(feedback(made.one, form))
        asked = Feedback(PSFB, FIR, 0x77, 0, fir_entry(made.source(made.other), 9))
        made.asks(made.other, asked)
        await until(lambda: len(feedback(made.one, form)) > before)
        request = feedback(made.one, form)[-1]
        assert (request.media_ssrc, fir_sources(request)) == ((0x77, ()) if form == PLI else (0, (0x77,)))
        assert request.sender_ssrc == made.source(made.one)


async def test_feedback_that_is_said_without_its_profile_is_not_sent() -> None:
    """RTP/AVP has no RTCP of that kind, whatever a=rtcp-fb says (RFC 4585 section 4.2): its signalling is asked."""
    async with call(profile="RTP/AVP") as made:
        known = len(made.wanted)
        made.asks(made.other, Feedback(PSFB, FIR, 0x77, 0, fir_entry(made.source(made.other), 9)))
        await until(lambda: "one" in made.wanted[known:])
        assert not feedback(made.one, PLI)


async def test_each_full_intra_request_has_a_number_of_its_own() -> None:
    """The same one again would be a repeat to its sender (RFC 5104 section 4.3.1.2), and no key frame would come."""
    async with call(("a=rtcp-fb:* ccm fir",)) as made:

        def numbers() -> list[int]:
            return [each.control[4] for each in feedback(made.one, FIR)]

        def asked_until(count: int) -> bool:
            made.engine.request_key_frame("call", "other")
            return len(numbers()) >= count

        await until(lambda: asked_until(3))
        assert numbers() == list(range(1, len(numbers()) + 1))


def limiting(made: Call, bits: int) -> Feedback:
    """What has `one` sent no more than that, and says that all before it was read."""
    return Feedback(RTPFB, TMMBR, 0x77, 0, temporary_limit(made.source(made.one), bits))


async def test_a_peer_without_such_feedback_is_asked_by_its_signalling() -> None:
    """RTP/AVP: an event for the call; what asks about another source asks for nothing."""
    async with call(video=VideoConfig(key_frame_interval=0.0)) as made:
        known = len(made.wanted)
        made.asks(made.one, Feedback(PSFB, PLI, 0x77, 0xBAD))
        made.asks(made.one, Feedback(PSFB, FIR, 0x77, 0, fir_entry(0xBAD, 9)))
        made.asks(made.one, limiting(made, 300_000))
        await until(lambda: made.stream("one").most == 300_000)
        assert len(made.wanted) == known
        made.asks(made.one, Feedback(PSFB, PLI, 0x77, made.source(made.one)))
        await until(lambda: len(made.wanted) > known)
        assert set(made.wanted) == {"other"}


async def test_only_packets_of_its_own_stream_are_sent_to_a_peer_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One compound is read by every stream that a browser sees: a NACK is for the one whose source it names."""
    async with call() as made:
        resent: list[tuple[int, tuple[int, ...]]] = []
        plane = made.stream("one")._plane
        monkeypatch.setattr(plane, "resend", lambda flow, numbers: resent.append((flow, tuple(numbers))))
        for source, number in ((0xBAD, 7), (0x77, 8), (made.source(made.one), 9)):
            made.asks(made.one, Feedback(RTPFB, NACK, 0x77, source, lost_entries([number])))
        made.asks(made.one, limiting(made, 300_000))
        await until(lambda: made.stream("one").most == 300_000)
        assert resent == [(made.stream("one").flow, (9,))]


async def test_a_key_frame_that_signalling_asks_for_reaches_the_one_who_is_seen() -> None:
    """By RTCP; of parties that there are not MediaError 481."""
    async with call(video=VideoConfig(key_frame_interval=0.1)) as made:
        before = len(feedback(made.one, PLI))

        def asked() -> bool:
            made.engine.request_key_frame("call", "other")
            return len(feedback(made.one, PLI)) > before

        await until(asked)
        with pytest.raises(MediaError):
            made.engine.request_key_frame("call", "nobody")


async def test_requests_within_the_shortest_time_are_one() -> None:
    """`video.key_frame_interval`: a flood of requests is not passed on."""
    async with call(video=VideoConfig(key_frame_interval=5.0)) as made:
        asked = Feedback(PSFB, PLI, 0x77, made.source(made.other))
        for _ in range(30):
            made.asks(made.other, asked)
        await until(lambda: feedback(made.one, PLI))
        made.asks(made.other, Feedback(RTPFB, TMMBR, 0x77, 0, temporary_limit(made.source(made.other), 300_000)))
        await until(lambda: made.stream("other").most == 300_000)
        assert len(feedback(made.one, PLI)) == 1


def bit_rate_message(bits: int) -> Feedback:
    return bit_rate_limit(0x77, bits, (1,))


@by_row(
    ("bandwidth", "most"),
    [("", 2_500_000), ("b=AS:500", 500_000), ("b=TIAS:700000", 700_000), ("b=AS:9000", 2_500_000)],
)
async def test_a_sender_is_told_what_the_other_side_can_take(bandwidth: str, most: int) -> None:
    """What is configured, or the b= of who sees it where that is less."""
    async with call(("a=rtcp-fb:* goog-remb",), bandwidth=bandwidth) as made:
        await until(lambda: feedback(made.one, 15))
        assert read_bit_rate_limit(feedback(made.one, 15)[-1]) == pytest.approx(most, rel=0.001)


async def test_a_sender_follows_the_limits_and_the_losses_of_who_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A REMB is passed on where it falls, and is none where it has grown; half of what is lost is taken away."""
    sending(monkeypatch, 500_000)
    async with call(("a=rtcp-fb:* goog-remb",), video=VideoConfig(max_bitrate=1_000_000)) as made:

        def told() -> list[int]:
            return [bits for each in feedback(made.one, 15) if (bits := read_bit_rate_limit(each)) is not None]

        async def tells(limit: int) -> None:
            known = len(told())
            await until(lambda: any(bits == pytest.approx(limit, rel=0.001) for bits in told()[known:]))

        await until(lambda: told()[-1:] == [pytest.approx(1_000_000, rel=0.001)] and made.stream("one").rate)
        made.asks(made.other, bit_rate_message(500_000))
        made.asks(made.other, bit_rate_message(400_000))
        await tells(400_000)
        made.asks(made.other, bit_rate_message(9_000_000))
        await tells(1_000_000)
        lost = ReportBlock(made.source(made.other), 128, 100, 2000, 0, 0, 0)
        made.other.send_rtcp(bytes(ReceiverReport(0x77, (lost,))))
        await tells(750_000)


async def test_what_a_viewer_estimates_of_a_little_picture_does_not_hold_its_sender_down() -> None:
    """It estimates little more than it gets, and says so again and again."""
    async with call(("a=rtcp-fb:* goog-remb",)) as made:
        await until(lambda: made.stream("one").rate)
        for _ in range(20):
            made.asks(made.other, bit_rate_message(round(made.stream("one").rate)))
        made.asks(made.other, Feedback(PSFB, PLI, 0x77, made.source(made.other)))
        await until(lambda: made.stream("other")._limit.bits)
        known = len(feedback(made.one, 15))
        await until(lambda: len(feedback(made.one, 15)) >= known + 2)
        limits = [read_bit_rate_limit(each) for each in feedback(made.one, 15)]
        assert limits == [pytest.approx(2_500_000, rel=0.001)] * len(limits)


async def test_a_phone_that_takes_no_remb_is_limited_by_tmmbr_and_limits_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5104 section 3.5.4: what it asks for is kept to, and told it back, once for all in one packet."""
    sending(monkeypatch, 500_000)
    async with call(("a=rtcp-fb:* ccm tmmbr",)) as made:

        def told(bits: int) -> bool:
            limits = [read_temporary_limit(each, 0x77) for each in feedback(made.one, TMMBR, RTPFB)]
            return any(each is not None and each[0] == pytest.approx(bits, rel=0.001) for each in limits)

        await until(lambda: told(2_500_000) and made.stream("one").rate)
        made.asks(made.other, bit_rate_message(500_000))
        made.asks(made.other, bit_rate_message(400_000))
        await until(lambda: told(400_000))
        entry = temporary_limit(made.source(made.one), 300_000, 40)
        asked = bytes(Feedback(RTPFB, TMMBR, 0x77, 0, entry)) * 20
        made.one.send_rtcp(bytes(ReceiverReport(0x77)) + asked)
        await until(lambda: made.stream("one").most == 300_000)
        await until(lambda: feedback(made.one, TMMBN, RTPFB))
        [notified] = feedback(made.one, TMMBN, RTPFB)
        assert (notified.sender_ssrc, notified.media_ssrc) == (made.source(made.one), 0)
        assert notified.control == temporary_limit(0x77, 300_000, 40)
        stray = Feedback(RTPFB, TMMBR, 0x77, 0, temporary_limit(0xBAD, 1_000))
        made.asks(made.one, stray)
        made.asks(made.one, Feedback(RTPFB, TMMBR, 0x77, 0, temporary_limit(made.source(made.one), 200_000)[:-1]))
        made.asks(made.one, Feedback(RTPFB, TMMBR, 0x77, 0, temporary_limit(made.source(made.one), 250_000)))
        await until(lambda: made.stream("one").most == 250_000)
        # One of two has its picture as small as it says: it takes it from nobody else.
        less = temporary_limit(made.source(made.other), 90_000)
        made.asks(made.other, Feedback(RTPFB, TMMBR, 0x77, 0, less))
        await until(lambda: told(90_000))


@by_row("goes", ["bye", "another source"])
async def test_what_a_phone_has_asked_for_by_tmmbr_holds_until_it_has_gone(goes: str) -> None:
    """Over any estimate of more, and however little is sent; with its source goes its limit."""
    async with call(("a=rtcp-fb:* ccm tmmbr",)) as made:
        stream = made.stream("one")
        made.asks(made.one, Feedback(RTPFB, TMMBR, 0x77, 0, temporary_limit(made.source(made.one), 300_000)))
        await until(lambda: stream.most == 300_000)
        for bits in (400_000, 9_000_000):
            made.asks(made.one, bit_rate_message(bits))
        await until(lambda: stream._limit.bits == pytest.approx(9_000_000, rel=0.001))
        stream.run_began(0x77, 2, 0.0)
        assert stream.most == 300_000
        if goes == "bye":
            made.one.send_rtcp(bytes(ReceiverReport(0x77)) + bytes(Bye((0x78,))))
            made.one.send_rtcp(bytes(ReceiverReport(0x77)) + bytes(Bye((0x77,))))
        else:
            stream.run_began(0x79, 3, 0.0)
        await until(lambda: stream.most == 2_500_000)


async def test_what_never_came_is_asked_for_where_it_was_sent() -> None:
    """A NACK for a packet that was lost on its way here goes on to its sender, by the sender's numbers."""
    async with call((*PLI_SAID, "a=rtcp-fb:* nack")) as made:
        made.stream("other").missing([7, 8, 40], 0.0)
        await until(lambda: feedback(made.one, NACK, RTPFB))
        request = feedback(made.one, NACK, RTPFB)[-1]
        assert (request.media_ssrc, lost_numbers(request)) == (0x77, (7, 8, 40))
        made.stream("other").missing([7, 8, 40], 0.05)
        made.stream("other").missing([8, 41], 0.09)
        await until(lambda: len(feedback(made.one, NACK, RTPFB)) > 1)
        assert [lost_numbers(each) for each in feedback(made.one, NACK, RTPFB)] == [(7, 8, 40), (41,)]


def test_lost_packets_are_named_as_rfc_4585_has_it() -> None:
    """A first number and sixteen bits of those after it, over the wrap too."""
    control = lost_entries([65_535, 0, 15, 16, 100])
    assert control.hex() == "ffff" + "8001" + "0010" + "0000" + "0064" + "0000"
    assert lost_numbers(Feedback(RTPFB, NACK, 1, 2, control)) == (65_535, 0, 15, 16, 100)
    assert lost_numbers(Feedback(RTPFB, NACK, 1, 2, control[:-1])) == (65_535, 0, 15, 16)
