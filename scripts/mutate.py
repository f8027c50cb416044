"""Mutation: change routing, aggregation and artifacts a little, and see whether a test notices.

    python -m scripts.mutate                   # all modules of setup.cfg's [mutmut]
    python -m scripts.mutate artifacts/markers routing/policy
    python -m scripts.mutate --changed --limit 180

mutmut makes the mutants and runs the tests that reach each; this chooses the modules, bounds the time and judges what
survives. ``tests/survivors.txt`` lists the survivors that were looked at, under the reason why they may live. It fails
where more than ``MOST`` of a package's mutants survive, listed or not; over everything also where a survivor is not
listed, or a listed one does not survive any more. A change is judged by its modules only, and what stands in the time
limit.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mutmut.configuration import config
from mutmut.mutation.diff_apply import get_diff_for_mutant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_agentic"
MUTANTS = ROOT / "mutants"
LISTED = ROOT / "tests" / "survivors.txt"
MOST = 0.10
ALIVE = {0, 5, 33}
"""Exit codes of pytest with which a mutant survives: all tests passed, or no test reaches it."""


def modules() -> list[str]:
    """The modules that are mutated, as ``routing/policy``."""
    found = {path for pattern in config().only_mutate for path in ROOT.glob(pattern)}
    return sorted(str(path.relative_to(ROOT / PACKAGE).with_suffix("")) for path in found if path.name != "__init__.py")


def changed() -> list[str]:
    """Those that differ from the merge base with main; on main itself, those of the last commit that landed."""
    head, base = git("rev-parse", "HEAD"), git("merge-base", "HEAD", "origin/main")
    if base in {None, head}:
        base = git("rev-parse", "HEAD^1")
    files = set((git("diff", "--name-only", str(base)) or "").splitlines()) if base else set()
    return [module for module in modules() if f"{PACKAGE}/{module}.py" in files]


def git(*arguments: str) -> str | None:
    """What git says, or ``None`` where it cannot."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def run(chosen: Sequence[str], limit: float | None) -> bool:
    """Run the mutants of ``chosen``; returns whether all of them were run before ``limit`` seconds were over."""
    names = [f"{PACKAGE}.{module.replace('/', '.')}.*" for module in chosen]
    with subprocess.Popen(["mutmut", "run", *names], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.communicate()
            return False
    if process.returncode:
        sys.exit(f"mutmut failed:\n{said[-4000:]}")
    return True


@dataclass
class Found:
    """What became of the mutants of some modules."""

    tried: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By package."""
    alive: dict[str, str] = field(default_factory=dict)
    """Name of each survivor → how the list names it."""

    def share(self, package: str) -> float:
        """Of a package's mutants, those that survive."""
        return sum(package_of(name) == package for name in self.alive) / self.tried[package]


def package_of(mutant: str) -> str:
    """``routing`` of ``airflow_agentic.routing.policy.x_scores__mutmut_1``."""
    return mutant.split(".")[1]


def results(chosen: Iterable[str]) -> Found:
    """Read what mutmut has stored; mutants that were not run are left out."""
    found = Found()
    for module in chosen:
        stored = MUTANTS / PACKAGE / f"{module}.py.meta"
        codes = json.loads(stored.read_text())["exit_code_by_key"] if stored.is_file() else {}
        for name, code in codes.items():
            found.tried[package_of(name)] += code is not None
            if code in ALIVE:
                found.alive[name] = shown(name, module)
    return found


def shown(mutant: str, module: str) -> str:
    """A mutant as the list names it: by what it changes, as its number changes with every edit of the function."""
    diff = get_diff_for_mutant(mutant, path=Path(PACKAGE, f"{module}.py")).splitlines()
    sides = [
        " ".join(line[1:].strip() for line in diff if line[:1] == sign and line[:3] != sign * 3) for sign in ("-", "+")
    ]
    function = mutant.rpartition("__mutmut_")[0].rpartition(".")[2].removeprefix("x_").removeprefix("xǁ")
    return f"{module}.{function.replace('ǁ', '.')}: {sides[0]} → {sides[1]}"


def listed() -> set[str]:
    """The survivors that were looked at."""
    return {line for line in LISTED.read_text().splitlines() if line and not line.startswith("#")}


def judge(found: Found, chosen: Sequence[str], *, everything: bool) -> list[str]:
    """What is wrong; says what was found."""
    wrong = []
    for package, tried in sorted(found.tried.items()):
        share = found.share(package)
        print(f"{package}: {tried} mutants, {tried - round(share * tried)} killed, {share:.1%} survive")
        if share > MOST:
            wrong.append(
                f"{package}: {share:.1%} of the mutants survive, more than {MOST:.0%}: write tests that notice"
            )
    known, alive = listed(), set(found.alive.values())
    for line in sorted(alive - known):
        print(f"survives, and is not in {LISTED.relative_to(ROOT)}: {line}")
    gone = sorted(line for line in known - alive if line.partition(".")[0] in chosen)
    if everything:
        wrong += [f"not in {LISTED.name}: {line}" for line in sorted(alive - known)]
        wrong += [f"listed in {LISTED.name}, but does not survive: {line}" for line in gone]
    return wrong


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="mutate")
    parser.add_argument("modules", nargs="*", help="as routing/policy; all where none is named")
    parser.add_argument("--changed", action="store_true", help="the modules of this change only")
    parser.add_argument("--limit", type=float, help="seconds")
    parser.add_argument("--no-run", action="store_true", help="judge what the last run found")
    given = parser.parse_args(arguments)
    chosen = changed() if given.changed else given.modules or modules()
    if not chosen:
        print("no module that is mutated has changed")
        return 0
    whole = given.no_run or run(chosen, given.limit)
    if not whole:
        print(f"stopped after {given.limit:g} s; what follows is of the mutants that were run")
    wrong = judge(results(chosen), chosen, everything=whole and not given.changed)
    print("\n".join(wrong), file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
