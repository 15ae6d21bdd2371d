"""Helm, in a process of its own: its Go runtime takes signals for itself.

`python -m tests.helm CHART` reads a list from standard input: values, or what stands behind `--set`. It prints the
manifests of each by their template, or why there are none, and last what `helm lint` says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests import peers

ABSENT = 3
Values = dict[str, Any] | str


class HelmError(Exception):
    """Helm does not render that."""


class Rendered:
    """What Helm makes of a chart for each of some values."""

    def __init__(self, chart: Path, values: Sequence[Values]) -> None:
        command = [sys.executable, "-m", "tests.helm", str(chart)]
        done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=60)
        if done.returncode == ABSENT:
            peers.missing("Helm", "helm-python-sdk of the extra `test` (Linux on x86-64)")
        assert done.returncode == 0, done.stderr
        *self._each, self.lint = json.loads(done.stdout)

    def __getitem__(self, number: int) -> list[dict[str, Any]]:
        """The manifests of one of the values; raises HelmError."""
        made = self._each[number]
        if isinstance(made, str):
            raise HelmError(made)
        return [manifest for text in made.values() for manifest in yaml.safe_load_all(text) if manifest]


def main() -> None:
    """See the module."""
    try:
        import helm_python as helm
    except ImportError:
        sys.exit(ABSENT)
    path, made = sys.argv[1], list[Any]()
    with helm.Chart.load(path) as chart:
        for values in json.load(sys.stdin):
            given = helm.parse_set_string(values) if isinstance(values, str) else values
            try:
                chart.validate_schema(given)
                made.append(chart.render(given, name="phones", namespace="default"))
            except helm.HelmError as error:
                made.append(str(error))
    made.append(helm.lint(path, strict=True))
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
