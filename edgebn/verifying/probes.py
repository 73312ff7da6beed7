"""Inputs to compare on: what the model is used on where that is known, and arrays that hurt.

Every probe is drawn from its own generator, seeded by the seed and its name: one more or fewer changes no other.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.loading import Tensor
from edgebn.verifying.samples import Inputs

Sizes = tuple[tuple[int, ...], ...]
"""The shape of a sample, for each input."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[Any]]

SAMPLES = 32
NORMAL, HUGE, EVERY_INDEX, NOT_FINITE = "normal", "huge", "every index", "not finite"
CLIP_SIDES, DATA, DATA_NOT_FINITE = "clip sides", "data", "data, not finite"
_EXTENT = 32
"""How long what may vary is, where nothing else is known."""

FEWEST = 2
"""Samples of a probe, however large the model is."""
_BATCH_SIZES = (1, 2, 7, 32)
_DATA_BATCH_SIZES = (1, 256)
_SMALL_RUNS = 4
_FEWER_INDICES, _MOST_INDICES = 1 << 16, 1 << 22
_PART = 1024
_PIXELS = 255.0
_PATTERNS = ("single elements", "border")
"""Zeros but for some elements: what they show, other probes hide under the sums of everything else."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Samples for every input of a model, in order, and the batch sizes at which to run them.

    What is not `required` is reported, and does not decide. `labels` are those of the samples, if known.
    """

    name: str
    inputs: Inputs
    batch_sizes: tuple[int, ...]
    required: bool = True
    labels: NDArray[Any] | None = None

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.inputs[0])

    def limit(self, batch_size: int) -> int:
        """How many samples to run at `batch_size`: all at the largest, and a few batches at the smaller ones."""
        return self.samples if batch_size == max(self.batch_sizes) else min(self.samples, _SMALL_RUNS * batch_size)

    def first(self, count: int) -> Inputs:
        """The first `count` samples."""
        return tuple(array[:count] for array in self.inputs)


@dataclass(frozen=True)
class Plan:
    """What may be fed: the model's inputs, how many values those that are indices take, and how many samples.

    `fixed_batch` is the one batch size that a model allows, if it does not allow all. `integers` are the lowest and the
    highest of what integer inputs that are no index take; 0 and 1 where nothing is known. `given_sizes` are those of
    a sample, if what may vary is not to be 32 long.
    """

    inputs: tuple[Tensor, ...]
    index_ranges: Mapping[str, int]
    seed: int = 0
    samples: int = SAMPLES
    fixed_batch: int | None = None
    integers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    given_sizes: Sizes = ()

    @property
    def sizes(self) -> Sizes:
        """The shape of a sample, for each input."""
        return self.given_sizes or uniform(self.inputs, _EXTENT)

    @property
    def has_varying_extents(self) -> bool:
        """Whether an extent other than the batch may vary."""
        return any(extent is None for tensor in self.inputs for extent in tensor.shape[1:])

    @property
    def is_of_a_small_model(self) -> bool:
        """Whether there is no need to save samples."""
        return self.samples >= SAMPLES

    @property
    def most_indices(self) -> int:
        """How many rows of a table are read at most; fewer if the model is large."""
        return _MOST_INDICES if self.is_of_a_small_model else _FEWER_INDICES

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Those at which random samples are run; the last is the largest."""
        if self.fixed_batch is not None:
            return (self.fixed_batch,)
        return (*(size for size in _BATCH_SIZES if size < self.samples), self.samples)

    @property
    def data_batch_sizes(self) -> tuple[int, ...]:
        """Those at which real data are run."""
        return _DATA_BATCH_SIZES if self.fixed_batch is None else (self.fixed_batch,)

    def affordable(self, sizes: Sizes) -> int:
        """How many samples of other sizes are as much work as all of the plan's own."""
        elements = (sum(int(np.prod(size, dtype=int)) for size in each) for each in (self.sizes, sizes))
        own, other = (max(1, count) for count in elements)
        return min(self.samples, max(FEWEST, self.samples * own // other))

    def whole_batches(self, samples: int) -> int:
        """At least one batch, and no sample that would be left over."""
        batch = self.fixed_batch or 1
        return max(1, samples // batch) * batch


def probes(plan: Plan) -> Iterator[Probe]:
    """All that needs no run of a model: random and patterned inputs."""
    floats = any(np.dtype(tensor.dtype).kind == "f" for tensor in plan.inputs)
    for name in _kinds(plan) if floats else _kinds_of_integers(plan):
        yield random_probe(plan, name)


def uniform(inputs: Sequence[Tensor], extent: int) -> Sizes:
    """The shape of a sample of these inputs if all that may vary is `extent` long."""
    return tuple(tuple(extent if known is None else known for known in tensor.shape[1:]) for tensor in inputs)


def random_probe(plan: Plan, name: str, sizes: Sizes | None = None, samples: int | None = None) -> Probe:
    """The probe of this name. Integers are drawn from the range that is known of them."""
    sizes = sizes or plan.sizes
    length = _length(plan.inputs, sizes)
    rng = np.random.default_rng((plan.seed, zlib.crc32(f"{name} {length}".encode())))
    count = plan.whole_batches(samples or plan.samples)
    pairs = zip(plan.inputs, sizes, strict=True)
    inputs = tuple(_drawn(tensor, plan, name, (count, *size), rng) for tensor, size in pairs)
    shown = name if sizes == plan.sizes else f"{name}, {length} long"
    batch_sizes = plan.batch_sizes[-1:] if name == HUGE else plan.batch_sizes
    return Probe(shown, inputs, batch_sizes, required=name != NOT_FINITE)


def _length(inputs: Sequence[Tensor], sizes: Sizes) -> str:
    """How long what may vary is: a number, or several, in order, if they are not all equal."""
    pairs = (
        pair for tensor, size in zip(inputs, sizes, strict=True) for pair in zip(tensor.shape[1:], size, strict=True)
    )
    lengths = [extent for known, extent in pairs if known is None] or [_EXTENT]
    return str(lengths[0]) if len(set(lengths)) == 1 else " × ".join(map(str, lengths))


def every_index(plan: Plan) -> Iterator[Probe]:
    """All values of every input that is an index, in a random order, in parts; the others are drawn as ever."""
    pairs = zip(plan.inputs, plan.sizes, strict=True)
    lengths = {tensor.name: int(np.prod(size, dtype=int)) for tensor, size in pairs}
    wanted = (-(-min(rows, plan.most_indices) // lengths[name]) for name, rows in plan.index_ranges.items())
    batch = plan.fixed_batch or 1
    samples = -(-max(plan.samples, *wanted) // batch) * batch
    rng = np.random.default_rng((plan.seed, zlib.crc32(EVERY_INDEX.encode())))
    orders = {name: rng.permutation(rows) for name, rows in plan.index_ranges.items()}
    part = plan.whole_batches(max(plan.samples, _PART))
    for start in range(0, samples, part):
        drawn = random_probe(plan, NORMAL, samples=min(part, samples - start))
        inputs = tuple(
            _turned(orders[tensor.name], start * lengths[tensor.name], array) if tensor.name in orders else array
            for tensor, array in zip(plan.inputs, drawn.inputs, strict=True)
        )
        yield Probe(EVERY_INDEX, inputs, plan.batch_sizes[-1:])


def _turned(order: NDArray[Any], start: int, like: NDArray[Any]) -> NDArray[Any]:
    """The elements of `order` from `start` on, and again from its beginning, in the shape and dtype of `like`."""
    return np.take(order, np.arange(start, start + like.size), mode="wrap").reshape(like.shape).astype(like.dtype)


def _kinds(plan: Plan) -> tuple[str, ...]:
    """The names of the random probes; pixels up to 255 for what may be an image, huge numbers if the model is small."""
    images = any(len(tensor.shape) == 4 and {1, 3} & {tensor.shape[1], tensor.shape[-1]} for tensor in plan.inputs)
    wanted = {"bytes": images, HUGE: plan.is_of_a_small_model}
    return tuple(name for name in _DRAWS if wanted.get(name, True))


def _kinds_of_integers(plan: Plan) -> tuple[str, ...]:
    """The same where no input is a float: what is patterned for raw pixels alone."""
    pixels = any(tensor.dtype == "uint8" and len(tensor.shape) > 1 for tensor in plan.inputs)
    wide = any(limits != (0, 1) for limits in plan.integers.values())
    return (NORMAL, *(("uniform", "signed") if wide else ()), "constants", *(_PATTERNS if pixels or wide else ()))


def _limits(tensor: Tensor, plan: Plan, name: str) -> tuple[int, int]:
    """The lowest and the highest integer to draw: 0 and 1 in the uniform probe, and below 0 in the signed one alone."""
    if tensor.dtype == "uint8":
        return 0, 255
    if tensor.name in plan.index_ranges:
        return 0, plan.index_ranges[tensor.name] - 1
    lowest, highest = plan.integers.get(tensor.name, (0, 1))
    return (lowest if name == "signed" else 0), (1 if name == "uniform" else highest)


def _drawn(tensor: Tensor, plan: Plan, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return np.asarray(_DRAWS[name](rng, shape), dtype)
    lowest, highest = _limits(tensor, plan, name)
    if name == "constants":
        return _repeated(sorted({0, 1, highest} if highest else {0}), shape).astype(dtype)
    drawn = rng.integers(lowest, highest, shape, endpoint=True).astype(dtype)
    return np.where(_DRAWS[name](rng, shape) == 0.0, dtype.type(0), drawn) if name in _PATTERNS else drawn


def _repeated(values: Sequence[float], shape: tuple[int, ...]) -> NDArray[Any]:
    """Whole samples of one value each, in turn."""
    each = np.resize(np.asarray(values, np.float64), shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return np.broadcast_to(each, shape).copy()


def _constants(_: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    return _repeated((0.0, 1.0, -1.0, 0.5), shape)


def _single_elements(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Zeros but for one element, the first and the last among them."""
    flat = np.zeros((shape[0], int(np.prod(shape[1:], dtype=int))))
    places = rng.integers(0, flat.shape[1], shape[0])
    places[:2] = (0, flat.shape[1] - 1)[: len(places)]
    flat[np.arange(shape[0]), places] = rng.choice((-4.0, 4.0), shape[0])
    return flat.reshape(shape)


def _border(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Zeros inside, random numbers at both ends of every axis but the batch and the channels."""
    if len(shape) < 2:
        return rng.standard_normal(shape)
    array, inside = rng.standard_normal(shape), (slice(None),) + (slice(1, -1),) * (len(shape) - 2)
    array[inside if len(shape) > 2 else np.s_[:, 1:-1]] = 0.0
    return array


def _not_finite(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    array = rng.standard_normal(shape)
    flat = array.reshape(shape[0], -1)
    flat[np.arange(shape[0]), rng.integers(0, flat.shape[1], shape[0])] = np.resize((np.nan, np.inf, -np.inf), shape[0])
    return array


_DRAWS: Mapping[str, Draw] = {
    NORMAL: lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(0.0, 1.0, shape),
    "signed": lambda rng, shape: rng.uniform(-1.0, 1.0, shape),
    "bytes": lambda rng, shape: rng.integers(0, int(_PIXELS) + 1, shape),
    "constants": _constants,
    "single elements": _single_elements,
    "border": _border,
    "large": lambda rng, shape: 64.0 * rng.standard_normal(shape),
    HUGE: lambda rng, shape: 4096.0 * rng.standard_normal(shape),
    "tiny": lambda rng, shape: rng.standard_normal(shape) / 4096.0,
    NOT_FINITE: _not_finite,
}
