"""One record of 200 MB among small ones: an error row that says what to do, and memory that it does not fill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_project import Project

LARGE: Final = 200_000_000
IDS: Final = ["before", "large", "after"]
CLI: Final = """
import sys
from pathlib import Path
from airflow_agentic.cli import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""
"""The command line, whose last word on stderr is the most memory that it ever held, in KiB."""


def jsonl_text(path: Path) -> None:
    with path.open("w") as file:
        for name in IDS:
            file.write(f'{{"id": "{name}", "text": "{"x" * LARGE if name == "large" else "a good day"}"}}\n')


def jsonl_tensor(path: Path) -> None:
    with path.open("w") as file:
        for name in IDS:
            file.write(f'{{"id": "{name}", "input": [{"0.5, " * (LARGE // 5 if name == "large" else 2)}1.0]}}\n')


def parquet_text(path: Path) -> None:
    pq.write_table(pa.table({"id": IDS, "text": ["a good day", "x" * LARGE, "a good day"]}), path)


def parquet_tensor(path: Path) -> None:
    ends = np.cumsum([0, 3, LARGE // 8, 3])
    values = np.random.default_rng(0).random(ends[-1])
    pq.write_table(pa.table({"id": IDS, "input": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)}), path)


LINE = "LINE: the line is longer than 67,108,864 bytes; name large inputs by uri"
HELD = "LINE: the record holds 200,000,005 bytes; at most 67,108,864 are taken: name large inputs by uri"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("write", "name", "said", "most"),
    [
        (jsonl_text, "in.jsonl", LINE, 1),
        (jsonl_tensor, "in.jsonl", LINE, 1),
        (parquet_text, "in.parquet", HELD, 7),
        (parquet_tensor, "in.parquet", HELD, 7),
    ],
    ids=["JSONL text", "JSONL tensor", "Parquet text", "Parquet tensor"],
)
def test_one_record_of_200_mb(tmp_path: Path, write: Callable[[Path], None], name: str, said: str, most: int) -> None:
    """``most``: how often the record may be held at once; Arrow itself does so several times as it reads Parquet."""
    project = Project(tmp_path)
    kind = "tensor" if "tensor" in write.__name__ else "text"
    project.card("size", handler="size", task="sizing", input=kind, output={"value": "parts"}, isolation="inline")
    project.workflow({"name": "main", "use": "size"})
    write(tmp_path / name)
    result = subprocess.run(
        [sys.executable, "-c", CLI, "run", "--json", "-w", "demo", "-i", name, "--allow-handler", "bad_models"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parent), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    (tmp_path / name).unlink()
    assert result.returncode == 1, result.stderr
    first, large, last = map(json.loads, result.stdout.splitlines())
    assert {one["record_id"]: one["value"] for one in (first, last)} == dict.fromkeys(
        ("before", "after"), 3.0 if kind == "tensor" else 10.0
    )
    assert large["error"]["code"] == "bad_record"
    assert large["error"]["message"] == said.replace("LINE", f"{name}:2")
    assert int(result.stderr.split()[-1]) * 1024 < 200 * 2**20 + most * LARGE
