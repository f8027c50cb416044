"""``python -m scripts.models``: build the example models, then measure them through their cards."""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from scripts.models import images, measure, sentiment, tabular
from scripts.models.base import BUILT

TARGETS = (*images.TARGETS, *sentiment.TARGETS, *tabular.TARGETS)


def main(arguments: list[str] | None = None) -> int:
    """Build what changed, measure what was built or never measured, print the table."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="build and measure only this; may be repeated")
    parser.add_argument("--list", action="store_true", help="what there is to build, and whether it is up to date")
    parser.add_argument("--force", action="store_true", help="build and measure also what is up to date")
    parser.add_argument("--profile", action="store_true", help="also write what was measured into the cards")
    options = parser.parse_args(arguments)
    if options.list:
        for target in TARGETS:
            print(f"{target.name:<20} {'up to date' if target.fresh else 'to build':<12} {', '.join(target.outputs)}")
        return 0
    unknown = sorted(set(options.only or ()) - {target.name for target in TARGETS} - set(measure.names()))
    if unknown:
        parser.error(f"no target or card is called {unknown[0]!r}; --list shows the targets")
    BUILT.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        if options.only and target.name not in options.only:
            continue
        if target.fresh and not options.force:
            print(f"{target.name}: up to date")
            continue
        started = time.monotonic()
        print(f"{target.name}: building", flush=True)
        target.make()
        print(f"{target.name}: built in {time.monotonic() - started:.0f} s", flush=True)
    measure.measure(options.only or measure.names(), force=options.force)
    measure.show()
    if options.profile:
        measure.write_profiles()
    return 0


if __name__ == "__main__":
    sys.exit(main())
