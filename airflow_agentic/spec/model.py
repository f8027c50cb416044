"""The model card: what a model does, what it costs and how it is loaded.

For the common tasks a card is all there is; no code is needed. Relative URIs start at the card's folder.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from airflow_agentic.spec.base import Bytes, Name, Seconds, Spec, Strict
from airflow_agentic.spec.explain import HANDLER_PATTERN, SHA256_PATTERN, VERSION_PATTERN, MisfitError
from airflow_agentic.spec.kept import checked
from airflow_agentic.spec.service import ServiceSpec  # pydantic reads it

InputType = Literal["image", "text", "tabular", "bytes", "json", "tensor"]
Framework = Literal["torch", "tensorflow", "onnx", "litert", "transformers", "python", "open-inference"]
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
"""Of the Open Inference Protocol."""
ScoreKind = Literal["probability", "calibrated_probability", "margin", "other"]
Runner = Literal["local", "kubernetes", "service", "queue", "spark"]
HandlerPath = Annotated[str, Field(pattern=HANDLER_PATTERN)]
"""``package.module:Name``. Imported only to load the model, and only if ``allowed_handlers`` has it."""

FileUri = Annotated[str, AfterValidator(checked)]
"""A path or URI of a file or folder; one of a registry must say which version or commit."""

Numbers = Annotated[
    tuple[float, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, int | float) else value, json_schema_input_type=float | list[float]
    ),
]


class ImageEncoding(Strict):
    """How an image becomes a float tensor: ``(pixel - mean) / scale``, pixels 0 to 255."""

    resize: int = Field(gt=0, le=8192)
    """The shorter side becomes this many pixels."""
    crop: int | None = Field(default=None, gt=0, le=8192)
    """Then this many pixels square are cut from the centre; without it the image is squeezed to a square."""
    mean: Numbers = (0.0,)
    """One number, or one a channel."""
    scale: Numbers = (255.0,)
    """One number, or one a channel."""
    color: Literal["rgb", "bgr", "grey"] = "rgb"
    layout: Literal["nhwc", "nchw"] | None = None
    """Axis order; by default ``nchw`` for torch and ONNX, else ``nhwc``."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    dtype: Literal["float32", "uint8"] = "float32"
    """``uint8`` passes the pixels as they are."""


class TextEncoding(Strict):
    """How text becomes token tensors (Hugging Face ``tokenizers`` file), or is passed as strings."""

    tokenizer: FileUri | None = None
    """URI of a ``tokenizer.json``; without it the model is given the strings."""
    max_length: int = Field(default=256, gt=0, le=32768)
    """Longer texts are cut to this many tokens."""
    inputs: dict[Literal["ids", "mask", "types"], str] = Field(default={"ids": "input_ids", "mask": "attention_mask"})
    """The model's input names for token ids, attention mask and token types (all int64, ``[batch, tokens]``)."""


class TabularEncoding(Strict):
    """How a struct becomes a row of numbers: ``(value - mean) / scale`` by column."""

    columns: list[str] = Field(min_length=1)
    """The struct's fields, in the model's order."""
    mean: list[float] | None = None
    scale: list[float] | None = None
    fill: dict[str, float] = Field(default_factory=dict)
    """What a missing value becomes; a column without one makes a record with a missing value an error row."""
    categories: dict[str, list[str]] = Field(default_factory=dict)
    """Columns of text: the value's index in this list is the number."""

    @model_validator(mode="after")
    def _same_length(self) -> TabularEncoding:
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.columns):
                raise MisfitError(
                    f"expected {len(self.columns)} numbers, one a column, found {len(values)}", at=(name,)
                )
        for name in ("fill", "categories"):
            unknown = sorted(getattr(self, name).keys() - set(self.columns))
            if unknown:
                raise MisfitError(
                    f"{unknown[0]!r} is no column\none of: {', '.join(self.columns)}", at=(name, unknown[0])
                )
        return self


class TensorForm(Strict):
    """A tensor as the Open Inference Protocol describes it."""

    name: str = Field(min_length=1)
    datatype: Datatype
    shape: list[Annotated[int, Field(ge=-1)]] = Field(min_length=1, max_length=32)
    """Lengths of the axes, the batch first; -1 is any."""


class Tensors(Strict):
    """What the loaded model takes and gives."""

    inputs: list[TensorForm] = Field(min_length=1)
    outputs: list[TensorForm] = Field(default_factory=list)


class Runtime(Strict):
    """What loads the model."""

    framework: Framework
    artifact: FileUri | None = None
    """A path, ``s3://``, ``gs://``…, ``package://distribution/path/in/it``, ``models:/name/version/path`` or
    ``models:/name@alias/path`` (MLflow), or ``hf://org/name@commit/path`` (Hugging Face hub). For torch ``.pt2`` is
    ``torch.export``, ``.pth`` with ``class`` a state dict, else TorchScript; for tensorflow a folder is a SavedModel,
    ``.keras`` a Keras file."""
    sha256: str | None = Field(default=None, pattern=SHA256_PATTERN)
    """Checked before loading. For a folder it is the digest of its tree, as ``models show`` prints it."""
    files: dict[str, Annotated[str, Field(pattern=SHA256_PATTERN)]] = Field(default_factory=dict)
    """SHA-256 of the card's other files (``labels``, ``tokenizer``), by URI: checked before loading."""
    class_: HandlerPath | None = Field(default=None, alias="class")
    """torch state dicts: the module's class (or a function that returns one)."""
    handler: HandlerPath | None = None
    """``framework: python``: a class with ``predict``, or a function of one record's input."""
    args: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of ``class`` or ``handler``."""
    model: str | None = Field(default=None, min_length=1)
    """``framework: open-inference``: the model's name at its server; by default the card's."""
    version: str | None = Field(default=None, min_length=1)
    """``framework: open-inference``: its version there; by default whatever the server chooses."""
    image: ImageEncoding | None = None
    text: TextEncoding | None = None
    tabular: TabularEncoding | None = None
    input_name: str | None = None
    """The name of the model's input, where it has several."""
    output_name: str | None = None
    """The name of the output to read, where it has several."""
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    """Applied to the output: to logits of a classifier."""
    pooling: Literal["none", "mean", "cls"] = "none"
    """For token-level embeddings ``[batch, tokens, dim]``: how they become one vector a text."""
    normalize: bool = False
    """Embeddings are scaled to length 1."""
    tensors: Tensors | None = None
    """The model's own tensors, where it is served for ``input: tensor`` and its framework does not tell them (torch,
    handlers): requests are checked against them, and clients see them."""
    threads: int = Field(default=1, ge=1, le=256)
    """CPU threads the framework may use."""
    trust: Literal["none", "pickle"] = "none"
    """``pickle`` lets the artifact run code while it is loaded. A warning is logged."""

    @model_validator(mode="after")
    def _complete(self) -> Runtime:
        if self.framework == "python" and self.handler is None:
            raise MisfitError("framework python needs a handler\nwrite handler: package.module:Class")
        if self.framework != "python" and self.handler is not None:
            raise MisfitError(
                f"handler belongs to framework python, not {self.framework}\nremove one of them", at=("handler",)
            )
        self._check_place()
        if self.class_ is not None and self.framework != "torch":
            raise MisfitError(
                f"class belongs to framework torch, not {self.framework}\nremove one of them", at=("class",)
            )
        return self

    def _check_place(self) -> None:
        """The model is in an artifact, in a handler's code, or at a server."""
        if self.framework == "open-inference":
            if self.artifact is not None:
                message = "framework open-inference has the model at its server\nremove it, and write service: {url: …}"
                raise MisfitError(message, at=("artifact",))
            return
        for name in ("model", "version"):
            if getattr(self, name) is not None:
                message = f"{name} belongs to framework open-inference, not {self.framework}\nremove one of them"
                raise MisfitError(message, at=(name,))
        if self.framework != "python" and self.artifact is None:
            raise MisfitError(f"framework {self.framework} needs an artifact\nwrite artifact: PATH or URI")


class Output(Strict):
    """What the model answers. Exactly one of ``classes``, ``embedding``, ``value`` or ``fields``."""

    classes: str | list[str] | None = None
    """The label space: its name, or its labels in the order of the model's outputs."""
    labels: FileUri | None = None
    """URI of a text file with one label a line, in the order of the model's outputs; for a named label space."""
    label_map: dict[str, str] = Field(default_factory=dict)
    """The model's labels → the label space's labels."""
    score_kind: ScoreKind = "probability"
    top_k: int = Field(default=5, ge=1, le=100_000)
    """How many classes of each answer are kept."""
    embedding: int | None = Field(default=None, gt=0)
    """Length of the vector; it is stored in ``output`` as a JSON list."""
    value: str | None = None
    """A regression: the unit or meaning of its number."""
    fields: dict[str, Literal["string", "number", "integer", "boolean", "array", "object"]] | None = Field(
        default=None, min_length=1
    )
    """A JSON object with these fields."""

    @model_validator(mode="after")
    def _one_kind(self) -> Output:
        kinds = [name for name in ("classes", "embedding", "value", "fields") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise MisfitError(
                f"needs exactly one of classes, embedding, value, fields; found {' and '.join(kinds) or 'none'}"
            )
        if isinstance(self.classes, list):
            self._check_labels(self.classes)
        elif self.labels is not None and self.classes is None:
            raise MisfitError("labels belong to classes\nwrite classes: NAME_OF_THE_LABEL_SPACE", at=("labels",))
        return self

    def _check_labels(self, classes: list[str]) -> None:
        if not classes:
            raise MisfitError("needs at least one label", at=("classes",))
        twice = sorted(label for label, count in Counter(classes).items() if count > 1)
        if twice:
            raise MisfitError(f"the label {twice[0]!r} stands twice\nkeep one of them", at=("classes",))
        if self.labels is not None:
            raise MisfitError("the labels are listed in classes already\nremove one of them", at=("labels",))
        unknown = sorted(self.label_map.keys() - set(classes))
        if unknown:
            shown = f"one of: {', '.join(classes)}"
            raise MisfitError(f"{unknown[0]!r} is no label of this model\n{shown}", at=("label_map", unknown[0]))

    @property
    def label_space(self) -> str | None:
        """Its name; for a listed one its sorted labels, so that equal sets are one space whatever their order."""
        if self.classes is None or isinstance(self.classes, str):
            return self.classes
        return "{" + ", ".join(sorted({self.label_map.get(label, label) for label in self.classes})) + "}"


class Profile(Strict):
    """What using the model means: declared here, or measured by ``airflow-agentic models profile``."""

    cost_per_1k: float = Field(default=0.0, ge=0)
    """Cost of 1,000 records, in a unit of your own (the same for all cards)."""
    latency_ms: float | None = Field(default=None, ge=0)
    """Median of one record."""
    quality: float | None = Field(default=None, ge=0, le=1)
    """Share of right answers on the data that ``measured_on`` names."""
    throughput_per_s: float | None = Field(default=None, ge=0)
    memory: Bytes | None = None
    """Peak resident memory of the model process."""
    measured_on: str | None = None


class Resources(Strict):
    """What the model's process or pod may use (Kubernetes' notation)."""

    cpu: str | None = None
    memory: Bytes | None = None
    gpu: int = Field(default=0, ge=0)


class Batch(Strict):
    """How many records the model is given at once."""

    rows: int = Field(default=16, ge=1, le=65536)
    bytes: Bytes = 64 * 2**20
    timeout: Seconds = 300.0
    """A batch that takes longer kills the model process."""
    latency: Seconds = 0.1
    """Of a model that is served: waiting requests are joined to larger batches while one takes less than this."""


_ENCODING_EXAMPLES = {"image": "image: {resize: 256, crop: 224}", "tabular": "tabular: {columns: [NAME, OTHER]}"}


class ModelCard(Spec):
    """A model: what it does, what it costs, how it is loaded."""

    kind: Literal["Model"]
    name: Name
    version: str = Field(pattern=VERSION_PATTERN)
    description: str = ""
    task: Name
    """``image-classification``, ``text-classification``…: Hugging Face's task names where one exists."""
    input: InputType
    output: Output
    capabilities: dict[str, str | float | bool | list[str]] = Field(default_factory=dict)
    """Free keys that routes filter by; ``languages`` is compared with the record's language."""
    runtime: Runtime
    profile: Profile = Profile()
    resources: Resources = Resources()
    batch: Batch = Batch()
    image: str | None = None
    """Container image, for runners that use one."""
    kubernetes: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the model's pod: arguments of KubernetesInferenceOperator, objects in Kubernetes' own notation."""
    service: ServiceSpec | None = None
    """Where the model is served: for ``framework: open-inference`` the server that has it, else our own model server,
    for ``runner: service``."""
    isolation: Literal["process", "inline"] = "process"
    """``inline`` runs in the caller's process: for light trusted code."""
    runners: list[Runner] = Field(default=["local", "kubernetes", "service", "queue", "spark"])
    """Where it may run."""
    deterministic: bool = True
    """The same input gives the same answer."""

    @model_validator(mode="after")
    def _encodable(self) -> ModelCard:
        runtime = self.runtime
        for name in ("image", "text", "tabular"):
            if getattr(runtime, name) is not None and self.input != name:
                message = f"does not fit input {self.input!r}\nremove it, or set input: {name}"
                raise MisfitError(message, at=("runtime", name))
        needs = {"image": runtime.image, "tabular": runtime.tabular}
        if runtime.framework != "python" and needs.get(self.input, True) is None:
            message = f"input {self.input!r} needs runtime.{self.input}: how it becomes a tensor"
            raise MisfitError(f"{message}\nwrite {_ENCODING_EXAMPLES[self.input]}", at=("runtime",))
        if runtime.framework == "open-inference" and (self.service is None or self.service.url is None):
            message = (
                "framework open-inference needs the URL of the model's server\nwrite service: {url: http://HOST:PORT}"
            )
            raise MisfitError(message, at=("service",) if self.service is not None else ())
        if self.isolation == "inline" and self.resources.gpu:
            raise MisfitError("an inline model cannot have a GPU\nset isolation: process", at=("resources", "gpu"))
        return self

    @property
    def files(self) -> dict[str, str]:
        """URIs of all files that it names, by the key that names them."""
        text = self.runtime.text
        named = {
            "runtime.artifact": self.runtime.artifact,
            "runtime.text.tokenizer": text.tokenizer if text else None,
            "output.labels": self.output.labels,
        }
        return {key: uri for key, uri in named.items() if uri is not None}

    def pinned(self, uri: str) -> str | None:
        """The SHA-256 that it states of one of its files."""
        return self.runtime.sha256 if uri == self.runtime.artifact else self.runtime.files.get(uri)

    @property
    def cost(self) -> float:
        """Of one record."""
        return self.profile.cost_per_1k / 1000.0
