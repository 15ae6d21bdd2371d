"""`python -m bench [NAME ...]`: every benchmark, or those named; status 1 when a goal is missed."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench import audio, cluster, curve, media, overload, quality, recovery, remotemedia, rooms, sdp, sip, web

BENCHMARKS: dict[str, Callable[[], bool]] = {
    "sdp": sdp.main,
    "sip": sip.main,
    "cluster": cluster.main,
    "curve": curve.main,
    "overload": overload.main,
    "recovery": recovery.main,
    "media": media.main,
    "audio": audio.main,
    "quality": quality.main,
    "rooms": rooms.main,
    "web": web.main,
    "remotemedia": remotemedia.main,
}


def main(names: list[str]) -> int:
    """Run them; 2 for a name that is not there."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    met = [BENCHMARKS[name]() for name in names or BENCHMARKS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
