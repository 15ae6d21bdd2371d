"""Of several callees with early media the caller hears the first until it is silent or gone, then the next."""

from __future__ import annotations

from gateway.call.leg import Answered, LegEvent, Rejected, Ringing
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import Kind, MediaError, MediaTimeout
from tests.call.rig import ANSWER, Rig
from tests.rows import by_row

EARLY = [ANSWER.replace("7000", str(7000 + 2 * place)) for place in range(3)]
SILENT = "silent"
Step = tuple[int, LegEvent | str]
RINGS: list[Step] = [(0, Ringing(EARLY[0])), (1, Ringing(EARLY[1]))]


@by_row(
    ("steps", "heard"),
    [
        (RINGS, [0]),
        ([*RINGS, (1, Ringing(EARLY[1]))], [0]),
        ([*RINGS, (1, SILENT)], [0]),
        ([*RINGS, (0, Rejected(Cause.BUSY))], [0, 1]),
        ([*RINGS, (1, Rejected(Cause.BUSY)), (0, SILENT)], [0]),
        ([*RINGS, (0, SILENT)], [0, 1]),
        ([*RINGS, (0, SILENT), (1, SILENT)], [0, 1, 0]),
        ([*RINGS, (0, SILENT), (1, Rejected(Cause.BUSY))], [0, 1, 0]),
        ([RINGS[0], (0, SILENT), RINGS[1]], [0, 1]),
        ([RINGS[0], (0, Rejected(Cause.BUSY)), RINGS[1]], [0, 1]),
        ([*RINGS, (2, Ringing(EARLY[2])), (0, Rejected(Cause.BUSY)), (1, SILENT)], [0, 1, 2]),
        ([*RINGS, (0, Ringing(EARLY[2], is_another=True))], [0, 0]),
        ([*RINGS, (1, Ringing(EARLY[2], is_another=True))], [0]),
        ([*RINGS, (0, Answered(EARLY[0]))], [0]),
        ([*RINGS, (0, SILENT), (0, Answered(EARLY[0]))], [0, 1, 0]),
        ([*RINGS, (1, Answered(EARLY[1]))], [0, 1]),
        ([*RINGS, (0, SILENT), (1, Answered(None))], [0, 1]),
    ],
)
@by_row("kind", [Kind.WEBRTC, Kind.RTP])
async def test_the_caller_hears_one_after_the_other(kind: Kind, steps: list[Step], heard: list[int]) -> None:
    """Each row: what the callees do, and whose media the engine joins to the caller, in order."""
    rig = await Rig(callees=3, caller_kind=kind).started()
    for place, event in steps:
        leg = rig.callees[place]
        if isinstance(event, str):
            rig.engine.emit(MediaTimeout("c1", leg.party.tag, 5.0))
            await rig.settle()
        else:
            await rig.hears(leg, event)
    answers = [request.source for request in rig.engine.requests if request.verb == "answer"]
    assert answers == [f"callee{place}" for place in heard]
    is_up = isinstance(steps[-1][1], Answered)
    rig.expect(State.CONNECTED if is_up else State.EARLY)
    assert (rig.engine.watched[answers[-1]] is None) is is_up


async def test_early_media_that_cannot_be_used_is_passed_over() -> None:
    """Its callee rings on, and the one after it is heard."""
    rig = await Rig(callees=3, caller_kind=Kind.RTP).started()
    for place in range(3):
        await rig.hears(rig.callees[place], Ringing(EARLY[place]))
    rig.engine.script("answer", MediaError("no codec", 488))
    await rig.hears(rig.callees[0], Rejected(Cause.BUSY))
    answers = [request.sdp for request in rig.engine.requests if request.verb == "answer"]
    assert answers == EARLY
    await rig.connected_by(rig.callees[1])


async def test_silence_of_a_caller_changes_nothing_before_the_answer() -> None:
    """Nor that of a callee which is not heard."""
    rig = await Rig(callees=2, caller_kind=Kind.RTP).started()
    await rig.hears(rig.callees[0], Ringing(EARLY[0]))
    for tag in ("caller", "callee1"):
        rig.engine.emit(MediaTimeout("c1", tag, 60.0))
    await rig.settle()
    assert rig.engine.verbs().count("answer") == 1
    rig.expect(State.EARLY)
