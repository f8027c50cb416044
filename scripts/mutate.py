"""Mutation: change routing, aggregation and artifacts a little, and see whether a test notices.

    python -m scripts.mutate                   # all of PARTS
    python -m scripts.mutate artifacts/markers routing/policy
    python -m scripts.mutate --changed --limit 180

mutmut writes the mutants, ``scripts/mutants.py`` runs the tests that reach each. ``tests/survivors.txt`` lists the
survivors that were looked at, under the reason why they may live. It fails where more than ``MOST`` of a part's mutants
survive, listed or not. What the time limit leaves out was chosen by chance.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mutmut.mutation.file_mutation import mutate_file_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_agentic"
MUTANTS = ROOT / "mutants"
RESULTS = MUTANTS / "results"
LISTED = ROOT / "tests" / "survivors.txt"
MOST = 0.10
CHILDREN = 2
ARGUMENTS = [
    "--quiet", "--capture=no", "--tb=short", "--hypothesis-profile=mutation", f"--rootdir={ROOT}",
    f"--config-file={ROOT}/pyproject.toml",
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception", "-p", "no:threadexception"),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the code and what tests it."""

    modules: tuple[str, ...]
    """As ``routing/policy``, or a pattern."""
    tests: tuple[str, ...]


PARTS = {
    "routing": Part(
        modules=("routing/*",),
        tests=(
            "unit/routing", "unit/execution/test_nodes.py", "property/test_conditions_property.py",
            "property/test_decide_one_property.py", "property/test_pick_property.py",
            "property/test_routing_property.py",
        ),
    ),
    "aggregation": Part(
        modules=(
            "pipeline/answers", "pipeline/answers_one", "pipeline/combination", "pipeline/combine",
            "pipeline/combine_one", "pipeline/ensemble", "pipeline/outcomes", "pipeline/pool", "pipeline/texts",
        ),
        tests=(
            "unit/pipeline/test_answers.py", "unit/pipeline/test_combine.py", "unit/pipeline/test_ensemble.py",
            "unit/execution/test_nodes.py", "property/test_aggregation_property.py",
            "property/test_combine_one_property.py",
        ),
    ),
    "artifacts": Part(
        modules=("artifacts/*",),
        tests=(
            "unit/artifacts", "unit/execution/test_erasure.py", "property/test_markers_property.py",
            "contract/test_store_contract.py", "--deselect=tests/contract/test_store_contract.py::TestS3",
            "--deselect=tests/unit/artifacts/test_markers.py::test_of_many_processes_one_commits_and_all_agree",
        ),
    ),
}  # fmt: skip


def modules(part: Part) -> list[str]:
    """The modules of a part."""
    found = {path for pattern in part.modules for path in (ROOT / PACKAGE).glob(f"{pattern}.py")}
    return sorted(str(path.relative_to(ROOT / PACKAGE).with_suffix("")) for path in found if path.name != "__init__.py")


def changed() -> set[str] | None:
    """The modules that differ from the merge base with ``origin/main``, on that itself from the commit before; ``None``
    where there is nothing to compare with."""
    base = git("merge-base", "HEAD", "origin/main")
    if base in {None, git("rev-parse", "HEAD")}:
        base = git("rev-parse", "--verify", "--quiet", "HEAD^1")
    files = base and git("diff", "--name-only", base, "--", PACKAGE)
    return None if files is None else {line.removeprefix(f"{PACKAGE}/").removesuffix(".py") for line in files.split()}


def git(*arguments: str) -> str | None:
    """What git says, or ``None`` where it cannot."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One small change."""

    name: str
    """``airflow_agentic.routing.policy.x_scores__mutmut_1``."""
    shown: str
    """By what it changes, as its number changes with every edit of the function."""


def write_mutants(chosen: Iterable[str]) -> list[Mutant]:
    """Copy the package to ``MUTANTS``, with the mutants of ``chosen`` in it."""
    shutil.rmtree(MUTANTS / PACKAGE, ignore_errors=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / PACKAGE, MUTANTS / PACKAGE, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("dags", "operators", "plugins"):
        if not (MUTANTS / folder).is_symlink():
            (MUTANTS / folder).symlink_to(ROOT / folder)
    written = []
    for module in chosen:
        path = MUTANTS / PACKAGE / f"{module}.py"
        made = mutate_file_contents(str(path), path.read_text())
        path.write_text(made.code)
        lines = made.code.splitlines()
        functions = {name: lines[span.start - 1 : span.end] for name, span in made.line_span_by_function_name.items()}
        prefix = f"{PACKAGE}.{module.replace('/', '.')}"
        written += [
            Mutant(name=f"{prefix}.{name}", shown=f"{module}.{shown(name, functions)}") for name in made.mutant_names
        ]
    return written


def shown(mutant: str, functions: dict[str, list[str]]) -> str:
    """A mutant as the list names it: its function, the lines that it changes, and what it makes of them."""
    function = mutant.partition("__mutmut_")[0]
    old, new = functions[f"{function}__mutmut_orig"], functions[mutant]
    new = [line.replace(mutant, f"{function}__mutmut_orig") for line in new]
    start, end = 0, 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    sides = (" ".join(line.strip() for line in side[start : len(side) - end]) for side in (old, new))
    return f"{function.removeprefix('x').strip('_ǁ').replace('ǁ', '.')}: {' → '.join(sides)}"


def run(part: Part, mutants: Sequence[Mutant], results: Path, limit: float) -> None:
    """Run ``mutants`` in an order by chance, until ``limit`` seconds are over."""
    names = [mutant.name for mutant in mutants]
    random.Random(0).shuffle(names)
    tests = [test if test.startswith("-") else f"{ROOT}/tests/{test}" for test in part.tests]
    job = MUTANTS / "job.json"
    asked = {"mutants": names, "arguments": [*ARGUMENTS, *tests], "children": CHILDREN, "limit": limit}
    job.write_text(json.dumps({**asked, "results": str(results)}))
    results.write_text("")
    environment = {**os.environ, "PYTHONPATH": str(MUTANTS), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", str(ROOT / "scripts" / "mutants.py"), str(job)]
    done = subprocess.run(command, cwd=MUTANTS, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in {0, 5}:
        sys.exit(f"{done.stdout[-4000:]}\npytest ended with {done.returncode}")


def judge(name: str, mutants: Sequence[Mutant], results: Path) -> bool:
    """Say what was found; returns whether too many survive."""
    outcomes = dict(json.loads(line) for line in results.read_text().splitlines())
    counts = Counter(outcomes.values())
    alive = counts["survived"] + counts["unreached"]
    share = alive / max(1, len(outcomes))
    print(
        f"{name}: {len(outcomes)} of {len(mutants)} mutants run, {counts['killed']} killed, {counts['timeout']} too "
        f"slow, {counts['survived']} survive, {counts['unreached']} in code that no test reaches: {share:.1%} alive",
        flush=True,
    )
    known = set(LISTED.read_text().splitlines())
    for mutant in mutants:
        if outcomes.get(mutant.name) in {"survived", "unreached"} and mutant.shown not in known:
            print(f"  {outcomes[mutant.name]}, not in {LISTED.relative_to(ROOT)}: {mutant.shown}")
    return share > MOST


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="mutate")
    parser.add_argument("modules", nargs="*", help="as routing/policy; all where none is named")
    parser.add_argument("--changed", action="store_true", help="only modules that differ from origin/main")
    parser.add_argument("--limit", type=float, default=86_400, help="seconds; then the rest is left out, by chance")
    given = parser.parse_args(arguments)
    wanted = changed() if given.changed else set(given.modules) or None
    if given.changed and wanted is None:
        print("nothing to compare with: nothing is mutated")
        return 0
    parts = {name: [one for one in modules(part) if wanted is None or one in wanted] for name, part in PARTS.items()}
    named = [name for name, chosen in parts.items() if chosen]
    if not named:
        print("no module that is mutated has changed")
    ends = time.monotonic() + given.limit
    too_many = []
    for number, name in enumerate(named):
        mutants = write_mutants(parts[name])
        results = RESULTS / f"{name}.jsonl"
        run(PARTS[name], mutants, results, (ends - time.monotonic()) / (len(named) - number))
        if judge(name, mutants, results):
            too_many.append(name)
    if too_many:
        said = f"{', '.join(too_many)}: more than {MOST:.0%} of the mutants survive; write tests that notice"
        print(said, file=sys.stderr)
    return bool(too_many)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
