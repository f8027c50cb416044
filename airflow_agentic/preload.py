"""What an Airflow task of a workflow imports, imported once, by the process that Airflow forks its task processes from.

In ``airflow_local_settings.py``, which Airflow imports at the start of each of its processes::

    import airflow_agentic.preload

Task processes that are forked (LocalExecutor, CeleryExecutor) inherit it, instead of a quarter of a CPU second of
imports in each. It holds no framework, no model and no connection. The threads that NumPy's OpenBLAS and Arrow's
jemalloc start are made for a fork by these libraries; no other is started here. Where every task is a new process
(KubernetesExecutor) there is nothing to inherit.
"""

# ruff: noqa: F401

import numpy.ma  # pyarrow.array() asks for it at the first array that it is given

import airflow_agentic.coordinator.batch
import airflow_agentic.dagbuilder.load
import airflow_agentic.execution.publish
import airflow_agentic.execution.units
import airflow_agentic.operators.infer
import airflow_agentic.operators.inputs
import airflow_agentic.operators.publish
import airflow_agentic.operators.workflow
import airflow_agentic.runtime.process
from airflow_agentic.dagbuilder.plan_cache import code_digest
from airflow_agentic.plan.ir import Plan
from airflow_agentic.registry.registry import package_folders
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.workflow import WorkflowSpec

# what is otherwise done in each process, at the first plan that it reads
for _model in (Plan, WorkflowSpec, ModelCard):
    _model.model_rebuild()
package_folders()
code_digest()
