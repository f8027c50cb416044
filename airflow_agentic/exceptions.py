"""Every error this project raises.

::

    AgenticError
    ├── SpecError (ValueError)              a model card or workflow is wrong; not retried
    │   └── CompileError                    the specs are well formed but do not fit together
    ├── ConditionError (ValueError)         a CEL expression does not compile
    ├── RecordError (ValueError)            one record cannot be used: becomes an error row
    ├── InputError (ValueError)             the whole input cannot be read
    ├── ProtocolError (ValueError)          a message breaks the Open Inference Protocol; not retried
    ├── ArtifactError (RuntimeError)
    │   ├── ChecksumError                   the bytes are not the ones that were pinned; not retried
    │   ├── ExpiredRunError                 the run was pruned; not retried
    │   └── StoreError                      the artifact store refuses or fails; retrying can help
    ├── PlanMismatchError (RuntimeError)    the Dag and the run's frozen plan differ; not retried
    ├── ModelError (RuntimeError)
    │   ├── ModelLoadError                  the model cannot be loaded; not retried
    │   ├── UnknownModelError (LookupError) the server has no such model or version; not retried
    │   ├── MissingExtraError (ImportError) a framework is not installed; not retried
    │   ├── ServiceRefusedError             a service refuses a request, or answers what is no answer; not retried
    │   └── ModelUnavailableError           the model's process died or timed out; retrying can help
    │       ├── ModelMemoryError            it ran out of memory; retrying can help where there is more
    │       ├── OverloadedError             its queue is full; retrying can help after a while
    │       └── DeadlineError (TimeoutError)  the request's time was over before it answered; retrying can help
    ├── HandlerNotAllowedError (PermissionError)  code outside ``allowed_handlers`` was asked for; not retried
    ├── ImageError (RuntimeError)            a container image cannot be built, sent or listed
    ├── JobError (RuntimeError)
    │   ├── UnknownJobError (LookupError)   there is no such job, or no longer
    │   ├── LostJobError                    another owner has the job, or it is closed: stop working on it
    │   ├── JobKeyError (ValueError)        no idempotency key: too long, or not printable ASCII
    │   ├── KeyReusedError (ValueError)     an idempotency key that stands for another request
    │   ├── JobTooLargeError (ValueError)   a request or result is larger than the job store takes
    │   └── JobStoreError                   the job store is locked, full or away; retrying can help
    ├── AccessError (PermissionError)
    │   ├── UnauthenticatedError            who asks is not known
    │   ├── AuthenticationUnavailableError  who asks cannot be found out now; retrying can help
    │   ├── ForbiddenError                  who asks may not use this workflow
    │   ├── QuotaExceededError              a client asks too much; retrying after ``retry_after`` seconds helps
    │   ├── QuotaTooSmallError              a request is larger than the client's quota lets through at once
    │   ├── AccessSettingsError (ValueError) settings of authentication that cannot work
    │   ├── UnsafeFileError                 somebody else could write the file that says who may ask
    │   └── UnsafeBindingError (ValueError) a server without authentication would be open to others
    ├── AirflowApiError (RuntimeError)
    │   ├── AirflowRefusedError             Airflow refuses a request; not retried
    │   └── AirflowUnavailableError         Airflow gives no answer, or not now; retrying can help
    └── AnswersFailedError (RuntimeError)   ``on_error: fail`` and some records have no answer; answers are committed

``retryable`` says whether the same call can succeed later without anybody changing anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class AgenticError(Exception):
    """Root of the tree."""

    retryable: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with a spec, and where.

    ``line`` and ``column`` count from 1, as editors do; both are ``None`` for specs that were built in Python.
    """

    message: str
    path: str = ""
    hint: str | None = None
    file: str = "<python>"
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        head = f"{where}  {self.path}: {self.message}" if self.path else f"{where}  {self.message}"
        return head if self.hint is None else f"{head}\n    {self.hint}"


class SpecError(AgenticError, ValueError):
    """A spec is wrong. Retrying cannot help; each problem says what to change."""

    def __init__(self, problems: list[Problem] | Problem) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[list[Problem]]]:
        return type(self), (list(self.problems),)


class CompileError(SpecError):
    """Well-formed specs that do not fit together (an unknown model, a vote over two label spaces)."""


class ConditionError(AgenticError, ValueError):
    """A CEL expression does not compile against the declared columns. Retrying cannot help."""


class RecordError(AgenticError, ValueError):
    """One record cannot be used; its row carries ``code`` and the message, the others go on."""

    def __init__(self, code: str, message: str) -> None:
        self.code = str(code)
        super().__init__(message)

    def __reduce__(self) -> tuple[type[RecordError], tuple[str, str]]:
        return type(self), (self.code, str(self))


class InputError(AgenticError, ValueError):
    """The input as a whole cannot be read (no such file, no records, duplicate ids). Retrying cannot help."""


class ProtocolError(AgenticError, ValueError):
    """A message breaks the Open Inference Protocol; says where, and what to change. Retrying cannot help."""


class ArtifactError(AgenticError, RuntimeError):
    """A model file or a data file cannot be had."""


class ChecksumError(ArtifactError):
    """The bytes are not those the card pins. Retrying cannot help: fix ``sha256`` or the file."""


class ExpiredRunError(ArtifactError):
    """The run has expired, its data is deleted. Retrying cannot help: clear the whole run to compute it anew."""


class StoreError(ArtifactError):
    """The artifact store refused or failed (full, read-only, away). What is committed stays; retrying can help."""

    retryable = True


class PlanMismatchError(AgenticError, RuntimeError):
    """The Dag's topology differs from the plan this run froze. Clear the whole run, or restore the spec."""


class ModelError(AgenticError, RuntimeError):
    """A model cannot be used."""


class ModelLoadError(ModelError):
    """The model cannot be loaded; the message names the card's key to change. Retrying cannot help."""


class UnknownModelError(ModelError, LookupError):
    """A model server has no such model, or not this version. Retrying cannot help."""


class MissingExtraError(ModelError, ImportError):
    """A framework is not installed. Retrying cannot help: install the extra the message names."""

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"{package!r} is not installed here; install it with: pip install 'airflow-agentic[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class ServiceRefusedError(ModelError):
    """A service refuses a request as it is, with its own message, or gives no answer of the protocol.

    ``status`` is HTTP's, 0 where none was given. Retrying cannot help.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)

    def __reduce__(self) -> tuple[type[ServiceRefusedError], tuple[str, int]]:
        return type(self), (str(self), self.status)


class ModelUnavailableError(ModelError):
    """The model's process died, ran out of memory or exceeded its time; or no server answers. Retrying can help."""

    retryable = True
    retry_after: float | None = None
    """Seconds after which it may, where they are known."""


class ModelMemoryError(ModelUnavailableError):
    """The model's process ran out of memory, or was killed from outside, which mostly means that. Retrying can help."""


class OverloadedError(ModelUnavailableError):
    """More is asked than can be answered. Retrying can help, after ``retry_after``."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class DeadlineError(ModelUnavailableError, TimeoutError):
    """The time that a request was given is over. Retrying can help, with more time or less load."""


class HandlerNotAllowedError(AgenticError, PermissionError):
    """A card or workflow asks for code outside ``allowed_handlers``. Retrying cannot help."""


class ImageError(AgenticError, RuntimeError):
    """A container image cannot be built, sent or listed; the message says what the engine said."""


class AnswersFailedError(AgenticError, RuntimeError):
    """``on_error: fail`` and some records ended in an error. The answers are committed; clearing reuses them."""


class JobError(AgenticError, RuntimeError):
    """A job cannot be registered, found or changed."""


class UnknownJobError(JobError, LookupError):
    """There is no such job, or it has expired. Retrying cannot help."""


class LostJobError(JobError):
    """Another owner has the job, or it is closed. Retrying cannot help: stop working on it."""


class JobKeyError(JobError, ValueError):
    """An idempotency key that is too long or not printable ASCII. Retrying cannot help."""


class KeyReusedError(JobError, ValueError):
    """An idempotency key that stands for another request. Retrying cannot help: use a new key."""


class JobTooLargeError(JobError, ValueError):
    """A request, result or error is larger than the job store takes. Retrying cannot help."""


class JobStoreError(JobError):
    """The job store is locked, full, away or of another schema. What it has acknowledged stays; retrying can help."""

    retryable = True


class AccessError(AgenticError, PermissionError):
    """Somebody may not do what it asks."""


class UnauthenticatedError(AccessError):
    """Who asks is not known. Retrying cannot help: give a valid token."""


class AuthenticationUnavailableError(AccessError):
    """Who asks cannot be found out now (the issuer's keys cannot be fetched). Retrying can help."""

    retryable = True


class ForbiddenError(AccessError):
    """Who asks may not use this workflow. Retrying cannot help."""


class QuotaExceededError(AccessError):
    """A client asks more than its quota. Retrying after ``retry_after`` seconds helps."""

    retryable = True

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)

    def __reduce__(self) -> tuple[type[QuotaExceededError], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class QuotaTooSmallError(AccessError):
    """A request has more records than the client's quota lets through at once. Retrying cannot help: send fewer."""


class AccessSettingsError(AccessError, ValueError):
    """Settings of authentication that cannot work. Retrying cannot help."""


class UnsafeFileError(AccessError):
    """Somebody else could write the file that says who may ask. Retrying cannot help: change its owner or mode."""


class UnsafeBindingError(AccessError, ValueError):
    """A server without authentication would be open to others. Retrying cannot help: the message says what to set."""


class AirflowApiError(AgenticError, RuntimeError):
    """Airflow's REST API did not do what it was asked.

    ``status`` is the answer's; ``None`` where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)

    def __reduce__(self) -> tuple[type[AirflowApiError], tuple[str, int | None]]:
        return type(self), (str(self), self.status)


class AirflowRefusedError(AirflowApiError):
    """Airflow refuses a request: login, rights, no such Dag, paused, a wrong conf. Retrying cannot help."""


class AirflowUnavailableError(AirflowApiError):
    """Airflow gives no answer, a server error, or is too busy. Retrying can help."""

    retryable = True
