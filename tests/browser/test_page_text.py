"""What the other side types, however much and whatever it is, without a call around it."""

from __future__ import annotations

import pytest

from tests.web.browser import stage

pytestmark = [pytest.mark.wall, pytest.mark.usefixtures("chromiums"), pytest.mark.asyncio(loop_scope="module")]

_TYPES = """async (typed) => {
  const { CallText } = await import("/static/call-text.js");
  const { showText } = await import("/static/text-view.js");
  const [text, connection, client] = [new CallText(), new EventTarget(), new EventTarget()];
  const channel = Object.assign(new EventTarget(), { protocol: "t140", readyState: "open", send() {}, close() {} });
  const call = { text, state: "talking", peer: "sip:bob@gw" };
  text.listen(connection);
  connection.dispatchEvent(Object.assign(new Event("datachannel"), { channel }));
  showText(client, () => call);
  let added = 0;
  const list = document.querySelector("#text-log ul");
  const observer = new MutationObserver((seen) => seen.forEach(({ addedNodes }) => (added += addedNodes.length)));
  observer.observe(list, { childList: true });
  for (const data of typed) {
    channel.dispatchEvent(Object.assign(new Event("message"), { data }));
    client.dispatchEvent(new Event("calls"));
  }
  await Promise.resolve();
  const shown = [...list.children].map((item) => item.querySelector("p").textContent);
  return { shown, added, typing: document.getElementById("text-theirs").textContent };
}"""


async def test_control_characters_of_the_other_side_are_not_shown() -> None:
    """C0, DEL and C1 (with the sequences that terminals take for commands); letters of every script are."""
    async with stage() as it:
        await it.log_in()
        found = await it.page.evaluate(_TYPES, ["a\x85b\x9b31mc\x07d\x7f\x00\x1b\ufeff", "é漢🙂"])
        assert found["typing"] == "ab31mcdé漢🙂"


async def test_the_log_of_much_text_adds_each_line_once_and_drops_the_oldest() -> None:
    """Five hundred lines stay; what is shown is not made anew for each further one. A line may be taken back."""
    async with stage() as it:
        await it.log_in()
        lines = [f"line {number}\u2028" for number in range(700)]
        found = await it.page.evaluate(_TYPES, lines)
        assert found["added"] == 700
        assert found["shown"] == [f"line {number}" for number in range(200, 700)]
        found = await it.page.evaluate(_TYPES, [*lines, "\b", "!\u2028", "more"])
        assert (found["added"], found["shown"][-2:], found["typing"]) == (701, ["line 698", "line 699!"], "more")


async def test_a_flood_of_empty_lines_does_not_stop_the_page() -> None:
    """A hundred thousand of them in one message: the page answers within the test's patience, with the last ones."""
    async with stage() as it:
        await it.log_in()
        found = await it.page.evaluate(_TYPES, ["\u2028" * 100_000])
        assert (len(found["shown"]), found["added"]) == (500, 500)


_MOVES = """async (states) => {
  const { CallText } = await import("/static/call-text.js");
  const text = new CallText();
  const opened = [];
  const connect = () => {
    const connection = Object.assign(new EventTarget(), { sctp: null });
    const channel = Object.assign(new EventTarget(), { protocol: "t140", readyState: "connecting", close() {} });
    connection.createDataChannel = () => (opened.push(channel), channel);
    return { connection, channel };
  };
  let { connection, channel } = connect();
  text.listen(connection);
  text.ask(connection);
  for (const state of states) {
    channel.readyState = state;
    const { isKept } = text;
    channel.readyState = "closed";
    ({ connection, channel } = connect());
    text.listen(connection);
    if (isKept) text.move(connection);
  }
  return opened.length;
}"""


@pytest.mark.parametrize(
    ("states", "opened"), [(["open"], 2), (["open", "connecting", "connecting"], 4), (["open", "closed"], 2)]
)
async def test_text_is_opened_again_as_often_as_its_connection_is_made_anew(states: list[str], opened: int) -> None:
    """Also where the connection before did not live to open it; not where the other side has closed it."""
    async with stage() as it:
        await it.log_in()
        assert await it.page.evaluate(_MOVES, states) == opened
