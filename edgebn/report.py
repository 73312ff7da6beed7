"""What edgebn returns: frozen dataclasses. Text and tables are views of them, made in `cli/`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True)
class Report:
    """Base of all results. `schema` names the layout of its JSON form and the version of that layout."""

    schema: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain dictionaries, lists and numbers, with its schema first."""
        return {"schema": self.schema, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """The result as indented JSON ending in a newline. Not-a-number and infinities become strings."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False) + "\n"


@dataclasses.dataclass(frozen=True)
class TrainingRecord(Report):
    """How a model was trained. Times in seconds, accuracies in [0, 1]; `history` has one entry per epoch."""

    schema: ClassVar[str] = "edgebn/training-record/1"
    architecture: str
    model: str
    model_sha256: str
    data: str
    data_sha256: str
    train_samples: int
    test_samples: int
    epochs: int
    batch_size: int
    seed: int
    history: tuple[dict[str, float], ...]
    test_loss: float
    test_accuracy: float
    seconds: float
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Step:
    """One law that a route uses: its name in the table of laws, and the node where it is used."""

    law: str
    at: str
    absorbs: bool


@dataclasses.dataclass(frozen=True)
class Stop:
    """What stopped a route: the node or tensor, and the reason in words."""

    at: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Health:
    """What the numbers of an affine say of it, over `channels` entries that differ along its axes.

    `dead_channels` have a variance below 1e-8: the training data never moved them. `smallest_variance` is None where
    only scale and shift are known. `largest_scale` is the largest absolute value, by which what `amplifies` makes, its
    rounding errors included, is multiplied.
    """

    channels: int
    dead_channels: int
    smallest_variance: float | None
    largest_scale: float
    amplifies: str
    negative_scales: int
    zero_scales: int


@dataclasses.dataclass(frozen=True)
class Folded:
    """An affine that is gone: its node, the Keras layers that it was, and the route to where it was absorbed."""

    node: str
    layers: tuple[str, ...]
    health: Health
    route: tuple[Step, ...]

    @property
    def into(self) -> tuple[str, ...]:
        """The nodes that absorbed it."""
        return tuple(step.at for step in self.route if step.absorbs)


@dataclasses.dataclass(frozen=True)
class Kept:
    """An affine that stays: its node, the Keras layers that it is, and what stopped it each way.

    If its scale could go and only its shift stays, `route` is where the scale went.
    """

    node: str
    layers: tuple[str, ...]
    health: Health
    stops: tuple[Stop, ...]
    route: tuple[Step, ...] = ()


Fate = Folded | Kept


@dataclasses.dataclass(frozen=True)
class Inspection(Report):
    """What `fold_export` would do: the fate of every BatchNormalization and other affine, in topological order.

    `nodes_before` and `nodes_after` count the graph's nodes without and with folding, both tidied.
    """

    schema: ClassVar[str] = "edgebn/inspection/1"
    source: str
    source_sha256: str
    opset: int
    nodes_before: int
    nodes_after: int
    folded: tuple[Folded, ...]
    kept: tuple[Kept, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ExportReport(Report):
    """What `fold_export` did. `nodes` are the operators of the written file in topological order; sizes in bytes.

    `inputs` and `outputs` map names to shapes, where a string is a symbolic extent. `notes` say, in sentences, in what
    the file is not as the model was.
    """

    schema: ClassVar[str] = "edgebn/export-report/1"
    source: str
    source_sha256: str
    onnx_model: str
    onnx_sha256: str
    onnx_bytes: int
    opset: int
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    nodes: tuple[str, ...]
    nodes_before: int
    folded: tuple[Folded, ...]
    kept: tuple[Kept, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One probe, run by Keras and by one onnxruntime session at one batch size, compared for one output.

    `max_abs` is the largest absolute difference between the two; `keras_error` and `onnx_error` are those of each from
    the model in float64 (None where it could not be rebuilt so), `sensitivity` is how far the output moves when every
    weight is rounded once. `scale` is the output's largest absolute value.
    `changed_labels` counts samples whose argmax differs (None where the output is not a row of scores).
    """

    output: str
    probe: str
    optimisation: str
    batch_size: int
    samples: int
    max_abs: float
    keras_error: float | None
    onnx_error: float | None
    sensitivity: float
    scale: float
    tolerance: float
    changed_labels: int | None
    passed: bool


@dataclasses.dataclass(frozen=True)
class Verdict(Report):
    """Whether an ONNX file computes what its Keras model computes, and every number that says so."""

    schema: ClassVar[str] = "edgebn/verdict/1"
    passed: bool
    keras_model: str
    onnx_model: str
    onnx_sha256: str
    data: str | None
    seed: int
    max_abs: float
    changed_labels: int
    labelled_samples: int
    comparisons: tuple[Comparison, ...]
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Embedding(Report):
    """What `embed` wrote: file names, relative to `folder`, with their SHA-256; sizes in bytes.

    `golden_samples` is how many samples the self-test runs, `golden_origin` says in words where they come from.
    """

    schema: ClassVar[str] = "edgebn/embedding/1"
    onnx_model: str
    onnx_sha256: str
    target: str
    folder: str
    files: dict[str, str]
    total_bytes: int
    golden_samples: int
    golden_origin: str


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0.0:  # nan, inf and -inf have no JSON form
        return str(value)
    return value
