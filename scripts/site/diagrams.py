"""State diagrams from the tables of the code, as SVG in the colour of the text around them: light and dark alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from html import escape
from typing import Any

Arrow = tuple[str, str, str]
"""From, to, what for."""

ROW, WIDTH, HEIGHT, LEFT, STEP = 54, 150, 30, 190, 22


def arrows_of(table: Mapping[Any, tuple[Any, Any]]) -> list[Arrow]:
    """The changes of state in a table of (state, input) -> (actions, next state); next None stays."""
    found = []
    for (state, what), row in table.items():
        target = next((one for one in row if isinstance(one, type(state))), None)
        if target is not None and target is not state:
            found.append((word(state), word(target), word(what)))
    return found


def word(value: Enum) -> str:
    """What a state or an input is called: its value where that is a word, else its name."""
    return value.value if isinstance(value.value, str) else value.name.lower().replace("_", "-")


def merged(arrows: Iterable[Arrow]) -> dict[tuple[str, str], list[str]]:
    """All that leads from one state to another."""
    found: dict[tuple[str, str], list[str]] = {}
    for source, target, label in arrows:
        labels = found.setdefault((source, target), [])
        if label not in labels:
            labels.append(label)
    return found


def markdown(title: str, first: str, arrows: Iterable[Arrow]) -> str:
    """A diagram with numbered arrows, and the table of what each number stands for."""
    pairs = merged(arrows)
    order = _order(first, pairs)
    rows = [
        f"| {number} | {source} | {target} | {', '.join(sorted(labels))} |"
        for number, ((source, target), labels) in enumerate(pairs.items(), 1)
    ]
    return "\n".join([_svg(title, order, list(pairs)), "", "| | from | to | on |", "|---|---|---|---|", *rows, ""])


def _order(first: str, pairs: Mapping[tuple[str, str], object]) -> list[str]:
    """States by their distance from the first, those that none follows last."""
    order = [first]
    for state in order:
        order += [target for source, target in pairs if source == state and target not in order]
    order += sorted({state for pair in pairs for state in pair} - set(order))
    left = {source for source, _ in pairs}
    return sorted(order, key=lambda state: state not in left)  # ends are at the end


def _svg(title: str, order: list[str], pairs: list[tuple[str, str]]) -> str:
    """States in a column; arrows down on its right side, up on its left, each a bow as far out as it is long."""
    place = {state: index for index, state in enumerate(order)}
    parts, spread = [], max((abs(place[a] - place[b]) for a, b in pairs), default=1)
    for number, (source, target) in enumerate(pairs, 1):
        down = place[target] > place[source]
        side, edge = (1, LEFT + WIDTH) if down else (-1, LEFT)
        begin = place[source] * ROW + HEIGHT / 2 + (6 if down else -6)
        end = place[target] * ROW + HEIGHT / 2 + (-6 if down else 6)
        bow = edge + side * (20 + STEP * abs(place[target] - place[source]))
        parts.append(
            f'<path d="M{edge} {begin} C{bow} {begin} {bow} {end} {edge} {end}" marker-end="url(#tip)"/>'
            f'<text x="{(edge + 3 * bow) / 4:.0f}" y="{(begin + end) / 2 + 4:.0f}" class="n">{number}</text>'
        )
    for state, index in place.items():
        y = index * ROW
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{LEFT + WIDTH / 2}" y="{y + 19}" class="s">{escape(state)}</text>'
        )
    width, height = 2 * LEFT + WIDTH + max(0, spread - 6) * STEP, len(order) * ROW
    return figure(title, width, height, parts)


def figure(title: str, width: float, height: float, parts: list[str]) -> str:
    """The whole picture."""
    marker = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z"/></marker>'
    )
    return (
        f'<svg class="states" viewBox="-10 -4 {width + 20} {height + 8}" style="max-width:{width}px" role="img" '
        f'aria-label="{escape(title)}"><defs>{marker}</defs>{"".join(parts)}</svg>'
    )


LANE, LINE = 260, 30


def sequence(text: str) -> str:
    """A sequence diagram of Mermaid's kind (participant, ->>, par ... end), as SVG."""
    lanes = dict(re.findall(r"^\s*participant (\w+) as (.+)$", text, re.MULTILINE))
    middle = {lane: 60 + LANE * number for number, lane in enumerate(lanes)}
    parts, y = [], 60
    for line in text.splitlines():
        arrow, aside = re.match(r"\s*(\w+)->>(\w+): (.+)", line), re.match(r"\s*(?:par|Note over \S+:) (.+)", line)
        if arrow is not None:
            begin, end = middle[arrow[1]], middle[arrow[2]]
            parts.append(
                f'<path d="M{begin} {y} H{end}" marker-end="url(#tip)"/>'
                f'<text x="{(begin + end) / 2}" y="{y - 5}" class="s">{escape(arrow[3])}</text>'
            )
        elif aside is not None:
            parts.append(f'<text x="0" y="{y}" font-style="italic">{escape(aside[1])}</text>')
        else:
            continue
        y += LINE
    for lane, name in lanes.items():
        x = middle[lane]
        parts.append(
            f'<rect x="{x - 55}" y="0" width="110" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x}" y="19" class="s">{escape(name)}</text>'
            f'<path d="M{x} {HEIGHT} V{y}" stroke-dasharray="3 4"/>'
        )
    return figure("Who says what to whom", 120 + LANE * (len(lanes) - 1), y, parts)
