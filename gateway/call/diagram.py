"""State diagram of a call, drawn from its two tables: `python -m gateway.call.diagram`."""

from __future__ import annotations

import sys

from gateway.call import attempt_table, bridge_table
from gateway.call.state import State


def diagram() -> str:
    """Return attempt and bridge as one Mermaid state diagram, with one arrow for each pair of states."""
    arrows: dict[tuple[State, State], set[str]] = {}
    for table in (attempt_table.TABLE, bridge_table.TABLE):
        for (state, what), (_, target) in table.items():
            if target is not state:
                arrows.setdefault((state, target), set()).add(what.value)
    lines = ["stateDiagram-v2", f"    [*] --> {State.NEW.value}"]
    for (state, target), inputs in arrows.items():
        lines.append(f"    {state.value} --> {target.value}: {', '.join(sorted(inputs))}")
    lines.append(f"    {State.ENDED.value} --> [*]")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(diagram())
