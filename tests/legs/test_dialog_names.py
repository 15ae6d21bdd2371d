"""Names of dialogs at the legs."""

from __future__ import annotations

from gateway.call.leg import DialogName
from gateway.legs.sip_sessions import named_by, names_of
from gateway.sip.message.values import Replaces
from tests.legs.fakes import FakeSession
from tests.sip.agents import Stage, answered_call, stage_with_invite


def test_a_replaces_means_the_dialog_of_a_session() -> None:
    """Its to-tag is ours (RFC 3891 section 3); a session without a dialog has no name."""
    _, answered, _ = answered_call(Stage())
    assert answered.dialog is not None
    name = answered.dialog.id
    replaces = Replaces.parse(f"{name.call_id};from-tag={name.remote_tag};to-tag={name.local_tag};early-only")
    _, _, waiting, _ = stage_with_invite()
    assert names_of([answered, waiting]) == (named_by(replaces),)
    assert named_by(replaces) == DialogName(name.call_id, name.local_tag, name.remote_tag)


def test_a_dialog_with_a_peer_without_a_tag_has_no_name() -> None:
    """No Replaces can mean it (RFC 2543 peers)."""
    _, answered, _ = answered_call(Stage())
    assert answered.dialog is not None
    session = FakeSession()
    session.dialog = answered.dialog
    session.dialog.id = type(answered.dialog.id)("call", "ours", "")
    assert names_of([session]) == ()
