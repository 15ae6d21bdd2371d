"""RTP header extensions in offers and answers: which are said, and under which identifiers."""

from __future__ import annotations

from dataclasses import replace

from sdp import MediaDescription, SessionDescription, answer, negotiate, read_codecs, translate
from sdp.extensions import ORIENTATION as TURNED
from sdp.extensions import TRANSPORT_CC, read_extensions
from tests.rows import by_row
from tests.sdp.plans import CHROME_AUDIO, CHROME_VIDEO, PHONE_AUDIO, browser, browser_plan, described, phone_plan

COUNTED_VIDEO = f"{CHROME_VIDEO}|a=extmap:3 {TRANSPORT_CC}"
PHONE_VIDEO = "m=video 4002 RTP/AVP 96|a=rtpmap:96 VP8/90000"
PLAN = browser_plan(own_extensions=(TRANSPORT_CC,), media=("audio", "video"))
PASSING = browser_plan(extensions=(TURNED,), media=("audio", "video"))


def both(*media: str) -> SessionDescription:
    """A browser's description of two bundled sections."""
    return browser(*media, session="a=group:BUNDLE 0 1")


def feedback(media: MediaDescription) -> set[str]:
    """What any of its codecs says."""
    return {said for codec in read_codecs(media) for said in codec.feedback}


def sections(description: SessionDescription) -> list[dict[str, int]]:
    """The header extensions of each."""
    return [read_extensions(media) for media in description.media]


def test_what_we_read_ourselves_is_accepted_under_the_offers_identifier() -> None:
    """Whatever the other side does; with the feedback that it is read for, in both kinds of section."""
    offer = both(CHROME_AUDIO, COUNTED_VIDEO)
    opus = "m=audio 4000 RTP/AVP 111|a=rtpmap:111 opus/48000/2"
    made = translate(described(opus, PHONE_VIDEO), PLAN, offer=offer)
    assert sections(made) == [{TRANSPORT_CC: 3}, {TRANSPORT_CC: 3}]
    assert all("transport-cc" in feedback(media) for media in made.media)
    agreed = negotiate(offer, made, local="answerer")
    assert [each.extensions for each in agreed.media] == sections(made)


@by_row(
    "video",
    [
        COUNTED_VIDEO.replace("a=rtcp-fb:96 transport-cc|", ""),
        CHROME_VIDEO,
        COUNTED_VIDEO.replace("extmap:3", "extmap:3/recvonly"),
        COUNTED_VIDEO.replace("extmap:3", "extmap:15"),
        COUNTED_VIDEO.replace("extmap:3", "extmap:0"),
        COUNTED_VIDEO.replace("extmap:3", "extmap:4100"),
        COUNTED_VIDEO.replace("extmap:3", "extmap:x"),
        COUNTED_VIDEO.replace(TRANSPORT_CC, f"urn:ietf:params:rtp-hdrext:encrypt {TRANSPORT_CC}"),
    ],
)
def test_numbers_and_their_feedback_are_agreed_together_or_not_at_all(video: str) -> None:
    """Neither means anything alone."""
    made = translate(described(PHONE_AUDIO, PHONE_VIDEO), PLAN, offer=both(CHROME_AUDIO, video))
    assert sections(made)[1] == {}
    assert "transport-cc" not in feedback(made.media[1])


def test_a_browser_is_offered_to_number_its_packets_and_a_phone_is_not() -> None:
    """Under the identifier that browsers use, in each section the same; what was said before keeps its own."""
    source = described(PHONE_AUDIO, PHONE_VIDEO)
    made = translate(source, PLAN)
    assert sections(made) == [{TRANSPORT_CC: 3}, {TRANSPORT_CC: 3}]
    assert all("transport-cc" in feedback(media) for media in made.media)
    before = translate(described(PHONE_AUDIO), browser_plan(), offer=browser(CHROME_AUDIO))
    said = before.with_media([media.with_lines([*media.lines, "a=extmap:3 urn:other"]) for media in before.media])
    again = translate(source, replace(PLAN, previous=said))
    assert [each[TRANSPORT_CC] for each in sections(again)] == [1, 1]
    assert sections(translate(source, replace(PLAN, previous=again))) == sections(again)
    phone = translate(both(CHROME_AUDIO, COUNTED_VIDEO), phone_plan(own_extensions=(TRANSPORT_CC,)))
    assert sections(phone) == [{}, {}]
    assert "transport-cc" not in str(phone)


def test_an_extension_passes_where_both_sides_say_it() -> None:
    """Each under its own identifier; where the other side does not say it, it does not. Far ends of our own do."""
    turned, other = f"{CHROME_VIDEO}|a=extmap:13 {TURNED}", f"{PHONE_VIDEO}|a=extmap:4 {TURNED}"
    offer = both(CHROME_AUDIO, turned)
    assert sections(translate(offer, PASSING))[1] == {TURNED: 13}
    assert sections(translate(described(PHONE_AUDIO, other), PASSING))[1] == {TURNED: 4}
    assert sections(translate(described(PHONE_AUDIO, other), PASSING, offer=offer))[1] == {TURNED: 13}
    assert sections(translate(described(PHONE_AUDIO, PHONE_VIDEO), PASSING, offer=offer))[1] == {}
    assert sections(answer(offer, replace(PASSING, reflects=("video",))))[1] == {TURNED: 13}
    assert sections(answer(both(CHROME_AUDIO, CHROME_VIDEO), replace(PASSING, reflects=("video",))))[1] == {}
    phones = described(PHONE_AUDIO, other)
    assert sections(translate(offer, phone_plan(extensions=(TURNED,)), offer=phones))[1] == {TURNED: 4}
    assert sections(translate(offer, phone_plan(extensions=(TURNED,))))[1] == {TURNED: 13}
    assert sections(translate(offer, phone_plan()))[1] == {}


def test_a_phone_that_has_said_an_extension_is_offered_it_again_as_it_said_it() -> None:
    """Under its own identifier, as often as the browser offers anew, on hold too; not where the browser drops it."""
    plan = phone_plan(extensions=(TURNED,))
    phones = described(PHONE_AUDIO, f"{PHONE_VIDEO}|a=extmap:4 {TURNED}")
    held = both(CHROME_AUDIO, f"{CHROME_VIDEO}|a=extmap:13 {TURNED}|a=sendonly".replace("a=sendrecv|", ""))
    said = translate(held, plan, offer=phones)
    assert sections(said)[1] == {TURNED: 4}
    for _ in range(3):
        said = translate(held, replace(plan, previous=said))
        assert sections(said)[1] == {TURNED: 4}
    dropped = translate(both(CHROME_AUDIO, CHROME_VIDEO), replace(plan, previous=said))
    assert sections(dropped)[1] == {}


def test_a_browser_keeps_the_identifier_that_was_said_first() -> None:
    """Whatever the other side's is by now; what another extension has is given to none."""
    first = translate(described(PHONE_AUDIO, f"{PHONE_VIDEO}|a=extmap:4 {TURNED}"), PASSING)
    again = translate(described(PHONE_AUDIO, f"{PHONE_VIDEO}|a=extmap:9 {TURNED}"), replace(PASSING, previous=first))
    assert [sections(each)[1] for each in (first, again)] == [{TURNED: 4}] * 2
    both_said = replace(PASSING, own_extensions=(TRANSPORT_CC,))
    made = translate(described(PHONE_AUDIO, f"{PHONE_VIDEO}|a=extmap:3 {TURNED}"), both_said)
    assert sections(made) == [{TRANSPORT_CC: 3}, {TURNED: 13, TRANSPORT_CC: 3}]


def test_an_answer_with_another_identifier_agrees_to_nothing() -> None:
    """RFC 8285 section 6; of two with one identifier in a section the first counts."""
    made = translate(described(PHONE_AUDIO, PHONE_VIDEO), PLAN)
    theirs = str(made).replace("extmap:3", "extmap:5")
    agreed = negotiate(made, SessionDescription.parse(theirs), local="offerer")
    assert [each.extensions for each in agreed.media] == [{}, {}]
    twice = both(CHROME_AUDIO, f"{CHROME_VIDEO}|a=extmap:3 urn:first|a=extmap:3 {TRANSPORT_CC}")
    assert sections(twice)[1] == {"urn:first": 3}
