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

    @property
    def setup_ms(self) -> float | None:
        """Median of offer to sound at both ends, over the calls from the browser to the phone."""
        times = [step.offer_to_media for step in self.steps if step.offer_to_media is not None]
        return median(times) if times else None

    @property
    def passed(self) -> bool:
        return bool(self.steps) and all(step.passed for step in self.steps)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def print_report(report: DemoReport, output: Console) -> None:
    """The table, the median against its goal, PASS or FAIL."""
    table = Table(title=f"SIP-WebRTC gateway, {report.browser}", title_justify="left")
    table.add_column("step")
    table.add_column("result")
    for heading in ("to ringing", "to answer", "to first sound"):
        table.add_column(f"{heading} (ms)", justify="right")
    table.add_column("")
    for step in report.steps:
        result = "[green]ok[/]" if step.passed else "[red]failed[/]"
        table.add_row(step.name, result, _ms(step.ringing), _ms(step.answered), _ms(step.audible), step.words)
    output.print(table)
    setup = report.setup_ms
    if setup is not None:
        verdict = "within" if setup < SETUP_GOAL_MS else "beyond"
        output.print(
            f"Offer to sound at both ends: median {setup:.0f} ms, {verdict} the goal of {SETUP_GOAL_MS:.0f} ms"
        )
    output.print("[bold green]PASS[/]" if report.passed else "[bold red]FAIL[/]")
