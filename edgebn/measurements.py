"""What was measured of a file beside others: parts of the results in `edgebn.report`."""

from __future__ import annotations

import dataclasses

MARGIN = 0.03
"""What two sessions of one file may differ by, for as long as they live: their memory does not lie alike."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Paired ratios of times to those of the first: their median, and the quartiles between which half of them lie."""

    median: float
    lower_quartile: float
    upper_quartile: float


@dataclasses.dataclass(frozen=True)
class Latency:
    """Seconds of one call: median and percentiles over `samples`, taken in `rounds`."""

    median: float
    p95: float
    p99: float
    rounds: int
    samples: int


@dataclasses.dataclass(frozen=True)
class Timed:
    """A model beside others in one run: its latency, and its ratio to the first of them."""

    latency: Latency
    ratio: Ratio


@dataclasses.dataclass(frozen=True)
class OutputChange:
    """How far one output of a file is from the same in float32, whose largest absolute value is `largest`.

    `changed_labels` counts samples of which the class, or the largest of a row of scores, is another, or a single
    probability lies on the other side of a half (None where the output is none of these); accuracies in [0, 1], None
    without labels.
    """

    output: str
    max_abs: float
    largest: float
    changed_labels: int | None
    accuracy: float | None
    float32_accuracy: float | None


@dataclasses.dataclass(frozen=True)
class Precision:
    """A file in fewer bits beside the float32 file that it was made from, which is not written. Sizes in bytes.

    Compared on `samples` of `data`, or of random numbers if that is None; the samples that it was calibrated on are
    not among them. `kept_in_float32` names weights that float16 can not hold.
    """

    precision: str
    data: str | None
    samples: int
    calibrated_on: int
    onnx_bytes: int
    float32_bytes: int
    float32_sha256: str
    outputs: tuple[OutputChange, ...]
    timed: Timed
    float32_timed: Timed
    kept_in_float32: tuple[str, ...]

    @property
    def is_slower(self) -> bool:
        """Than float32, in three of four rounds at least, by more than chance."""
        return self.timed.ratio.lower_quartile > 1.0 + MARGIN

    @property
    def is_larger(self) -> bool:
        """Than float32, as small models are in 8 bits: scales and nodes take more bytes than the weights save."""
        return self.onnx_bytes >= self.float32_bytes


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One of several plans that give the same function, with the number of its nodes, as it was timed."""

    preference: str
    nodes: int
    timed: Timed


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Which plan was fastest on this machine. Ratios are to the first, which is what is made without timing."""

    chosen: str
    candidates: tuple[Candidate, ...]
    machine: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Run:
    """A file at one batch size on a number of threads. `throughput` is in samples per second, by the median.

    `ratio` is None where the first file does not run at this batch size. `peak_bytes` is the most memory that loading
    and running take in a process of its own, beyond those of a file without weights; None where it is not known.
    """

    batch_size: int
    threads: int
    latency: Latency
    throughput: float
    ratio: Ratio | None
    peak_bytes: int | None


@dataclasses.dataclass(frozen=True)
class BenchedFile:
    """What was measured of a file. `creation` is of a session; `onnx_bytes` has the data beside the file in it."""

    onnx_model: str
    onnx_sha256: str
    onnx_bytes: int
    creation: Latency
    creation_ratio: Ratio
    runs: tuple[Run, ...]
