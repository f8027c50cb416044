"""``@task.agentic_model``: a function returns the records, a model answers them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from airflow_agentic.compat import determine_kwargs
from airflow_agentic.operators.model import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class _ModelDecoratedOperator(DecoratedOperator, ModelOperator):
    """Calls the function first; what it returns are the records."""

    custom_operator_name: ClassVar[str] = "@task.agentic_model"
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ModelOperator.template_fields)

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            records=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Collect the records, then answer them."""
        kwargs = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        self.records = self.python_callable(*self.op_args, **kwargs)
        return ModelOperator.execute(self, context)


def agentic_model_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make an inference task of a function that returns records.

    :param python_callable: the function.
    :param kwargs: of :class:`~airflow_agentic.operators.ModelOperator`, without ``records``.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_ModelDecoratedOperator, **kwargs
    )
