"""What phones are told as text, and what they publish, well-formed or not."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.model import Binding
from gateway.people.dialogs import DialogName, Progress, UserDialog
from gateway.people.documents import dialog_info, message_summary, pidf, reginfo
from gateway.people.documents.xml import DocumentError
from gateway.people.mailboxes import MailboxCounts
from gateway.people.presence import Activity, PresenceState
from tests.rows import by_row

ENTITY = "sip:alice@gw.test"
D = "{urn:ietf:params:xml:ns:dialog-info}"
R = "{urn:ietf:params:xml:ns:reginfo}"
RINGING = UserDialog(
    id="leg1",
    is_caller=False,
    progress=Progress.EARLY,
    remote_uri="sip:bob@gw.test",
    remote_name='Bob "<&>',
    name=DialogName("c<1>", "mine", "theirs"),
)


@by_row("activity", list(Activity))
def test_presence_reads_back_what_it_wrote(activity: Activity) -> None:
    """Every activity, with a note of the user's own."""
    state = PresenceState(activity, "back at 5 <soon> & well")
    assert pidf.parse(pidf.write(ENTITY, state)) == state


def test_phones_that_know_no_activities_show_a_note() -> None:
    """Busy and its kin in words, unless the user has written some."""
    assert b"<note>On the phone</note>" in pidf.write(ENTITY, PresenceState(Activity.ON_THE_PHONE))
    assert b"<note>" not in pidf.write(ENTITY, PresenceState(Activity.AVAILABLE))
    assert b"<basic>closed</basic>" in pidf.write(ENTITY, PresenceState())


@given(st.text(), st.text())
def test_every_text_makes_a_document(entity: str, note: str) -> None:
    """Control characters and halves of surrogate pairs, which XML cannot hold, are replaced."""
    root = ElementTree.fromstring(pidf.write(entity, PresenceState(Activity.AWAY, note)))
    assert root.tag.endswith("presence")
    dialog = UserDialog(id=note, is_caller=True, progress=Progress.TRYING, remote_uri=entity, remote_name=note)
    ElementTree.fromstring(dialog_info.write(entity, [dialog], 0, is_full=True))
    ElementTree.fromstring(reginfo.write(entity, [Binding(entity, note, 1.0, call_id=note)], 0))


PJSUA = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:1001@gw" xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"><tuple id="pj1"><status><basic>open</basic></status><note>Hello</note>
 </tuple><dm:person id="pj2"><rpid:activities><rpid:away/></rpid:activities></dm:person></presence>"""


@by_row(
    ("document", "state"),
    [
        (PJSUA, PresenceState(Activity.AWAY, "Hello")),
        (PJSUA.replace(b"rpid:away", b"rpid:meeting"), PresenceState(Activity.BUSY, "Hello")),
        (PJSUA.replace(b"rpid:away", b"rpid:unheard-of"), PresenceState(Activity.AVAILABLE, "Hello")),
        (PJSUA.replace(b"open", b"closed"), PresenceState(Activity.OFFLINE, "Hello")),
        (b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>', PresenceState(Activity.AVAILABLE)),
        (b'\xef\xbb\xbf<presence xmlns="urn:ietf:params:xml:ns:pidf"/>', PresenceState(Activity.AVAILABLE)),
    ],
)
def test_what_phones_publish_is_understood(document: bytes, state: PresenceState) -> None:
    """Notes, activities, and documents without any tuple."""
    assert pidf.parse(document) == state


BOMB = (
    b'<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<presence xmlns="urn:ietf:params:xml:ns:pidf"><note>&b;</note></presence>'
)


@by_row(
    "document",
    [
        b"",
        b"presence",
        b"<presence>",
        b"<presence/>",
        b'<other xmlns="urn:ietf:params:xml:ns:pidf"/>',
        BOMB,
        BOMB.decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="UTF-7"?>+ADw-p/+AD4-',
        PJSUA.replace(b"open", b"ajar"),
        b"\xff\xfe<",
        b"<a>" * 20_000,
        b" " * 65_537,
    ],
)
def test_what_cannot_be_read_is_the_rooms_own_error(document: bytes) -> None:
    """Entities are refused before anything is done with them; depth and length are bounded."""
    with pytest.raises(DocumentError):
        pidf.parse(document)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_octets_of_strangers_raise_nothing_else(document: bytes) -> None:
    """Whatever they are."""
    try:
        pidf.parse(document)
    except DocumentError:
        pass


def test_a_lamp_tells_how_far_a_call_is_and_to_its_group_whose() -> None:
    """RFC 4235: Call-ID and tags are for those who may take the call; nobody else can tell who calls."""
    whole = ElementTree.fromstring(dialog_info.write(ENTITY, [RINGING], 3, is_full=True))
    assert (whole.get("version"), whole.get("state"), whole.get("entity")) == ("3", "full", ENTITY)
    [dialog] = whole
    assert dialog.attrib == {
        "id": "leg1",
        "call-id": "c<1>",
        "local-tag": "mine",
        "remote-tag": "theirs",
        "direction": "recipient",
    }
    identity = dialog.find(f"{D}remote/{D}identity")
    assert identity is not None
    assert (identity.text, identity.get("display")) == ("sip:bob@gw.test", 'Bob "<&>')
    bare = dialog_info.write(ENTITY, [RINGING], 3, is_full=False)
    [dialog] = ElementTree.fromstring(bare)
    assert dialog.attrib == {"id": "leg1", "direction": "recipient"}
    assert [child.tag for child in dialog] == [f"{D}state"]
    for secret in (b"c&lt;1", b"mine", b"theirs", b"bob", b"Bob"):
        assert secret not in bare


def test_a_lamp_goes_out() -> None:
    """Without a call there is one dialog that is over: phones keep their lamp on that are told of none."""
    [dialog] = ElementTree.fromstring(dialog_info.write(ENTITY, [], 0, is_full=False))
    assert dialog.findtext(f"{D}state") == "terminated"


def test_waiting_messages() -> None:
    """RFC 3842 section 5.2: the account, new/old and urgent ones."""
    counts = MailboxCounts(voice_new=2, voice_old=8, voice_old_urgent=1)
    assert message_summary.write(ENTITY, counts).decode().splitlines() == [
        "Messages-Waiting: yes",
        f"Message-Account: {ENTITY}",
        "Voice-Message: 2/8 (0/1)",
    ]
    assert message_summary.write(ENTITY, MailboxCounts(voice_old=1)).startswith(b"Messages-Waiting: no\r\n")
    assert b"\r\nText-Message: 3/0\r\n" in message_summary.write(ENTITY, MailboxCounts(text=3))


def test_registered_contacts() -> None:
    """RFC 3680: each contact has a name that stays; without any the registration is over."""
    bindings = [Binding(ENTITY, "sip:alice@192.0.2.7:5060", 9.0, call_id="c1", cseq=4, q=0.5)]
    root = ElementTree.fromstring(reginfo.write(ENTITY, bindings, 2))
    [registration] = root
    assert (root.get("version"), registration.get("aor"), registration.get("state")) == ("2", ENTITY, "active")
    [contact] = registration
    assert (contact.findtext(f"{R}uri"), contact.get("q"), contact.get("cseq")) == (
        "sip:alice@192.0.2.7:5060",
        "0.5",
        "4",
    )
    again = ElementTree.fromstring(reginfo.write(ENTITY, bindings, 3))
    assert again[0][0].get("id") == contact.get("id")
    assert ElementTree.fromstring(reginfo.write(ENTITY, [], 0))[0].get("state") == "terminated"
