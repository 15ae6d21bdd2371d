"""What the demo found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

SETUP_GOAL_MS = 300.0
"""From the offer to media flowing both ways, median, with a phone that answers at once."""


@dataclass(slots=True)
class StepResult:
    """One call of the demo; times in milliseconds from dialling, None where there is nothing to time."""

    name: str
    passed: bool = False
    words: str = ""
    """What was proved, or what went wrong."""
    ringing: float | None = None
    answered: float | None = None
    audible: float | None = None
    """First audible sample at the end that heard last."""
    offer_to_media: float | None = None
    """From the browser's offer to sound at both ends."""


@dataclass(slots=True)
class DemoReport:
    """All steps, in order."""

    browser: str
    steps: list[StepResult] = field(default_factory=list)
    phone: str = "pjsua2"

    @property
    def setup_ms(self) -> float | None:
        """Median of offer to sound at both ends, over the calls from the browser to the phone."""
        times = [step.offer_to_media for step in self.steps if step.offer_to_media is not None]
        return median(times) if times else None

    @property
    def passed(self) -> bool:
        return bool(self.steps) and all(step.passed for step in self.steps)


def _median(values: list[float | None]) -> str:
    """Median of the times that were taken, in whole milliseconds."""
    known = [value for value in values if value is not None]
    return f"{median(known):.0f}" if known else ""


def print_report(report: DemoReport, output: Console) -> None:
    """One row for each kind of call with the medians of its rounds, the set-up goal, PASS or FAIL."""
    table = Table(title=f"With {report.browser} and a {report.phone} desk phone; times in ms from dialling, medians")
    table.add_column("step", no_wrap=True)
    table.add_column("result", no_wrap=True)
    for heading in ("ringing", "answer", "first sound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("proved by")
    kinds: dict[str, list[StepResult]] = {}
    for step in report.steps:
        kinds.setdefault(step.name, []).append(step)
    for name, rounds in kinds.items():
        good = sum(step.passed for step in rounds)
        colour = "green" if good == len(rounds) else "red"
        # What failed is told rather than what went well.
        words = next((step.words for step in rounds if not step.passed), rounds[-1].words)
        times = ([getattr(step, field) for step in rounds] for field in ("ringing", "answered", "audible"))
        table.add_row(name, f"[{colour}]{good} of {len(rounds)}[/]", *map(_median, times), words)
    output.print(table)
    setup = report.setup_ms
    if setup is not None:
        verdict = "within" if setup < SETUP_GOAL_MS else "beyond"
        output.print(
            f"From the browser's offer to sound at both ends: median {setup:.0f} ms, "
            f"{verdict} the goal of {SETUP_GOAL_MS:.0f} ms"
        )
    output.print("[bold green]PASS[/]" if report.passed else "[bold red]FAIL[/]")
