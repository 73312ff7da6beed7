"""What edgebn returns: frozen dataclasses. Text and tables are views of them, made in `cli/`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

from edgebn.measurements import BenchedFile, Precision, Tuning


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
    """An affine that is gone: its node, the layers that it was, and the route to where it was absorbed.

    `layers` are called as in Keras, or after the BatchNormalization nodes of an ONNX file.
    """

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
    """An affine that stays: its node, the layers that it is, and what stopped it each way.

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
    the file is not as the model was. `tuning` and `precision` are there if they were asked for.
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
    tuning: Tuning | None = None
    precision: Precision | None = None


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far two results are apart at most.

    `relative` is by the largest value of the channel, `ulps` in units in the last place (float32) of that value; each
    is that of the channel that is worst by it.
    """

    max_abs: float
    relative: float
    ulps: float


LOGITS = "logits of "
"""What the name of an output is preceded by where it is not the output that is compared, but what it is made of."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One output on one probe, as one runtime gives it at one batch size, against the reference.

    `difference` is ONNX against the reference, `error` and `reference_error` are those of each from the model in
    float64 (None where it can not be had). `sensitivity` is how far the output moves when every weight is rounded once.
    Every channel has its own tolerance: `channel` is the one that uses most of it, `tolerance` is that channel's, and
    `used` the share that is used, at most 1 if `passed`. `not_finite` counts elements of the reference that are NaN or
    infinite, where nothing is required; a probe that feeds such numbers is not `required` to pass. `changed_labels`
    counts samples whose argmax differs (None where the output is not a row of scores). `threads` is 0 for onnx's own
    reference evaluator. The output `logits of X` is what stands before the last softmax or sigmoid of X.
    """

    output: str
    probe: str
    optimisation: str
    threads: int
    batch_size: int
    samples: int
    difference: Distance
    error: Distance | None
    reference_error: Distance | None
    sensitivity: float
    scale: float
    channel: int
    tolerance: float
    used: float
    not_finite: int
    changed_labels: int | None
    required: bool
    passed: bool

    @property
    def is_of_logits(self) -> bool:
        """Whether it is no output, but what one is made of."""
        return self.output.startswith(LOGITS)


@dataclasses.dataclass(frozen=True)
class RuntimeDifference:
    """How far one runtime is from onnxruntime without optimisations on one thread: the same file, all probes."""

    output: str
    optimisation: str
    threads: int
    difference: Distance


@dataclasses.dataclass(frozen=True)
class Change:
    """A sample that ONNX labels otherwise. `margin` is by how much the reference prefers its own label.

    It is a `tie` if roundings that are allowed in both scores can decide between them.
    """

    sample: int
    reference_label: int
    onnx_label: int
    label: int | None
    margin: float
    tie: bool


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The labels of an output on all samples of the data; accuracies in [0, 1], None without labels.

    The label is the argmax of a row of scores; of a single probability or logit, 1 above 0.5 or 0, and 0 below.
    `changed` is `ties` and `real` together; `changes` are the first of them.
    """

    output: str
    samples: int
    reference_accuracy: float | None
    onnx_accuracy: float | None
    changed: int
    ties: int
    real: int
    changes: tuple[Change, ...]


@dataclasses.dataclass(frozen=True)
class Verdict(Report):
    """Whether an ONNX file computes what its reference computes, and every number that says so.

    `rule` is "rounding" (the default) or "numpy", with `rtol` and `atol`. `smallest_atol` and `smallest_rtol` are the
    smallest that would pass by numpy's rule, each with 0 for the other, infinite if none does; `used` is the largest
    share of a tolerance.
    `clip_sides` says how many of the sides of the file's clips (a ReLU's channel has two) the inputs reached, of how
    many. `culprit` says where it went wrong, if it did and that could be found.
    """

    schema: ClassVar[str] = "edgebn/verdict/2"
    passed: bool
    reference: str
    reference_sha256: str
    onnx_model: str
    onnx_sha256: str
    rule: str
    rtol: float | None
    atol: float | None
    data: str | None
    seed: int
    max_abs: float
    smallest_atol: float
    smallest_rtol: float
    used: float
    clip_sides: tuple[int, int]
    decisions: tuple[Decisions, ...]
    runtimes: tuple[RuntimeDifference, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    culprit: str | None
    cpu: str
    versions: dict[str, str]

    @property
    def changed_labels(self) -> int:
        """On the data, over all outputs."""
        return sum(each.changed for each in self.decisions)


@dataclasses.dataclass(frozen=True)
class Replayed:
    """One output of one golden data set: how far this machine is from the recorded value, and how far it may be.

    Every channel has its own tolerance: `tolerance` is that of the channel that uses most of it, and `used` the share
    that is used, at most 1 if `passed`. `difference` is the largest of all channels.
    """

    data_set: str
    output: str
    samples: int
    difference: Distance
    tolerance: float
    used: float
    passed: bool


@dataclasses.dataclass(frozen=True)
class Replay(Report):
    """An ONNX file alone, on its golden vectors. `notes` say what no longer matches its certificate."""

    schema: ClassVar[str] = "edgebn/replay/1"
    passed: bool
    onnx_model: str
    onnx_sha256: str
    certificate: str | None
    replayed: tuple[Replayed, ...]
    notes: tuple[str, ...]
    seconds: float
    cpu: str
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Certificate(Report):
    """What was verified, by what, with which result.

    `vectors` maps the golden vectors' paths, relative to the certificate's folder, to their SHA-256; `external_data`
    those of the files beside the ONNX file that hold its weights.
    """

    schema: ClassVar[str] = "edgebn/certificate/1"
    passed: bool
    source: str
    source_sha256: str
    onnx_model: str
    onnx_sha256: str
    vectors: dict[str, str]
    external_data: dict[str, str]
    cpu: str
    versions: dict[str, str]
    verdict: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Benchmark(Report):
    """ONNX files side by side, all from one interleaved run; ratios are to the first. `seconds` were to be spent."""

    schema: ClassVar[str] = "edgebn/benchmark/1"
    files: tuple[BenchedFile, ...]
    extents: dict[str, int]
    seconds: float
    seed: int
    machine: dict[str, str]
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
