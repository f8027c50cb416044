"""Fuzz specs, conditions and requests, all at once, each in a process of its own.

    python -m scripts.fuzz 60

What libFuzzer says lies in ``build/fuzz/NAME.log``, a case that fails beside it as ``NAME-crash-…``: give that file to
``tests/fuzz/fuzz_NAME.py`` to see it again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "fuzz"
TARGETS = ("spec", "condition", "infer")


def start(name: str, seconds: int) -> subprocess.Popen[bytes]:
    """Fuzz one target."""
    corpus = WORK / name
    corpus.mkdir()
    if name == "condition":
        for number in range(64):
            (corpus / str(number)).write_bytes(Random(number).randbytes(2048))
    words = "infer" if name == "infer" else "spec"
    dictionary = ROOT / "tests" / "fuzz" / f"{words}.dict"
    options = [
        f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-len_control=0",
        "-print_final_stats=1", f"-dict={dictionary}", f"-artifact_prefix={WORK / name}-",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / f"fuzz_{name}.py"), *options, str(corpus)]
    with (WORK / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)


def main(seconds: int) -> int:
    """Fuzz all for ``seconds``; returns 1 where something was found."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    running = {name: start(name, seconds) for name in TARGETS}
    codes = {name: process.wait() for name, process in running.items()}
    for name, code in codes.items():
        log = (WORK / f"{name}.log").read_text(errors="replace")
        done = re.search(r"^Done (\d+) runs in (\d+) second", log, re.MULTILINE)
        if code == 0 and done:
            print(f"{name}: {done[1]} cases in {done[2]} s, nothing found")
        else:
            print(f"{name}: exit code {code}; the end of {WORK.relative_to(ROOT)}/{name}.log:\n{log[-4000:]}")
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
