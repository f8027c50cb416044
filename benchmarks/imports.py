"""What a Dag file imports, and what the plugin adds to every task process.

Floor of the first: a process that runs ``import airflow.sdk`` and ends; the subject imports what ``load_workflows``
needs after it. Both are whole processes with written bytecode, in turns; the figure is the median difference. A
process that ran a Dag file is also looked at: KubernetesPodOperator must not have been imported.

The plugin is timed inside a process that has Airflow's plugin machinery already, as every task process has: what its
module adds, and which modules.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Final

from benchmarks.base import ROOT, Result, environment, pairs

RUNS: Final = 9
MOST_SECONDS: Final = 0.5
MOST_MILLISECONDS: Final = 20.0
NEVER: Final = ("airflow.providers.cncf.kubernetes.operators.pod", "kubernetes")
NEVER_IN_A_PLUGIN: Final = ("fastapi", "sqlalchemy")
DAG_FILE: Final = "import airflow.sdk\nimport airflow_agentic.dagbuilder.load"
PLUGIN: Final = """
import json, sys, time
import airflow.plugins_manager
before = set(sys.modules)
start = time.perf_counter()
import airflow_agentic.plugins
took = time.perf_counter() - start
print(json.dumps([took, sorted(set(sys.modules) - before)]))
"""
MODULES_OF_A_DAG_FILE: Final = f"""
import json, sys
{DAG_FILE}
airflow_agentic.dagbuilder.load.load_workflows({str(ROOT / "dags" / "workflows")!r})
print(json.dumps(list(sys.modules)))
"""


def run() -> list[Result]:
    """Seconds of a Dag file's imports, milliseconds of the plugin's."""
    return [_dag_file(), _plugin()]


def _dag_file() -> Result:
    times = pairs(lambda: _python("import airflow.sdk"), lambda: _python(DAG_FILE), runs=RUNS)
    added = statistics.median(subject - floor for floor, subject in zip(times.floor, times.subject, strict=True))
    loaded = set(json.loads(_python(MODULES_OF_A_DAG_FILE).splitlines()[-1]))
    kubernetes = sorted(loaded & set(NEVER))
    return Result(
        name="importing what a Dag file needs",
        value=round(statistics.median(times.subject), 3),
        unit="s",
        floor=round(statistics.median(times.floor), 3),
        ratio=round(times.ratio, 3),
        goal=f"≤ +{MOST_SECONDS} s over airflow.sdk, no KubernetesPodOperator",
        met=added <= MOST_SECONDS and not kubernetes,
        note=f"+{added:.2f} s; {', '.join(kubernetes) or 'no kubernetes module'} imported",
    )


def _plugin() -> Result:
    found = [json.loads(_python(PLUGIN).splitlines()[-1]) for _ in range(RUNS)]
    took = statistics.median(seconds for seconds, _ in found) * 1000.0
    heavy = sorted({name for _, added in found for name in added if name.split(".")[0] in NEVER_IN_A_PLUGIN})
    return Result(
        name="what the plugin adds to every task process",
        value=round(took, 2),
        unit="ms",
        goal=f"≤ {MOST_MILLISECONDS:g} ms, no FastAPI, no SQLAlchemy",
        met=took <= MOST_MILLISECONDS and not heavy,
        note=f"{len(found[0][1])} modules; {', '.join(heavy) or 'neither'} imported",
    )


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout
