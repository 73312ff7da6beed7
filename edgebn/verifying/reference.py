"""What the file is held against: Keras as it is and in float64, the truth that measures both; or another ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import Source, Tensor
from edgebn.loading.precision import computes_in, in_precision
from edgebn.loading.scores import with_logits as with_keras_logits
from edgebn.verifying.compare import DISTRUST, absolute, channels, magnitudes
from edgebn.verifying.endings import endings, with_logits
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.samples import Inputs, Outputs, Run, fixed_batch, sample, stacked, whole
from edgebn.verifying.sessions import open_runtime

_BATCH = 256
_HALF_ULP = 2.0**-24
_ROUNDED_TWINS = 2


@dataclass(frozen=True, eq=False)
class Reference:
    """A model that is right by definition.

    `trusted` is how far, by an output's scale, it may be from `truth` for that to count as one. `index_ranges` says how
    many values the integer inputs that are indices may take, by the input's name. `take` makes the model's own inputs
    of those that `run` takes, and `give` what `run` gives of the model's own outputs. Where the file `gives_class`, the
    outputs are the scores of which that is the largest. `logits` takes the operators, softmax or sigmoid, that outputs
    of a file end in, by their place; it gives the logits of those that end so here too. Where a sample is all that one
    run takes, the reference `is_of_whole_arrays`. `builds` says whether the model can be built for own inputs of such
    shapes: what runs may still have nothing left of an image on the way.
    """

    name: str
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    run: Run
    truth: Truth | None = None
    trusted: float = DISTRUST
    index_ranges: Mapping[str, int] = field(default_factory=dict)
    file: OnnxFile | None = None
    take: Callable[[Inputs], Inputs] = lambda inputs: inputs
    give: Callable[[Outputs], Outputs] = lambda outputs: outputs
    gives_class: bool = False
    logits: Callable[[Mapping[int, str]], Logits | None] = lambda _: None
    is_of_whole_arrays: bool = False
    builds: Callable[[Inputs], bool] = lambda _: True


@dataclass(frozen=True, eq=False)
class Logits:
    """A reference's `run`, `truth`, `file` and `give` for its outputs, and behind them the logits of those in `kinds`.

    `kinds` says of each which operator it is that makes the output of them: `Softmax`, `LogSoftmax` or `Sigmoid`.
    """

    kinds: Mapping[int, str]
    run: Run
    truth: Truth | None = None
    file: OnnxFile | None = None
    give: Callable[[Outputs], Outputs] = lambda outputs: outputs


@dataclass(frozen=True, eq=False)
class Truth:
    """The model with every layer in float64, weights and all."""

    twin: Any
    run: Run

    def sensitivity(self, inputs: Inputs, outputs: Outputs) -> tuple[NDArray[np.float64], ...]:
        """How far each channel of `outputs`, those for `inputs`, moves when every weight is rounded once.

        Each weight is multiplied by 1 ± 2⁻²⁴, half a unit in the last place of float32, with signs from a fixed seed.
        """
        moved = []
        try:
            for weights in self._rounded:
                self.twin.set_weights(weights)
                moved.append(self.run(inputs))
        finally:
            self.twin.set_weights(self._weights)
        return largest_moves(outputs, moved)

    @cached_property
    def _weights(self) -> list[NDArray[Any]]:
        return list(self.twin.get_weights())

    @cached_property
    def _rounded(self) -> list[list[NDArray[Any]]]:
        rng = np.random.default_rng(0)
        return [[_rounded(weight, rng) for weight in self._weights] for _ in range(_ROUNDED_TWINS)]


def of_whole_arrays(reference: Reference) -> Reference:
    """The same, with samples that are all that one run takes."""
    builds = reference.builds

    def logits(wanted: Mapping[int, str]) -> Logits | None:
        if (found := reference.logits(wanted)) is None:
            return None
        run, truth = _of_wholes(found.run), _truth_of_wholes(found.truth)
        return replace(found, run=run, truth=truth, give=partial(_each, found.give))

    return replace(
        reference,
        inputs=whole(reference.inputs),
        outputs=whole(reference.outputs),
        run=_of_wholes(reference.run),
        truth=_truth_of_wholes(reference.truth),
        take=partial(_each, reference.take),
        give=partial(_each, reference.give),
        logits=logits,
        is_of_whole_arrays=True,
        builds=lambda inputs: builds(sample(inputs, 0)),
    )


def _each(function: Callable[[Inputs], Outputs], arrays: Inputs) -> Outputs:
    """The function of every sample for itself."""
    return stacked([function(sample(arrays, index)) for index in range(len(arrays[0]))])


def _of_wholes(run: Run) -> Run:
    return replace(run, whole=True)


def _truth_of_wholes(truth: Truth | None) -> Truth | None:
    return None if truth is None else replace(truth, run=_of_wholes(truth.run))


def largest_moves(outputs: Outputs, moved: list[Outputs]) -> tuple[NDArray[np.float64], ...]:
    """For each output and channel, how far the furthest of `moved` is from it, where both are finite."""
    return tuple(
        np.maximum.reduce([channels(magnitudes(absolute(other[index], output))) for other in moved])
        for index, output in enumerate(outputs)
    )


def keras_reference(
    source: Source, *, with_truth: bool = True, seen: Callable[[Source], Source] = lambda source: source
) -> Reference:
    """A Keras model or SavedModel; its truth costs another tracing, and can be left out.

    `seen` says what of the source, and of its twin in float64, is looked at.
    """
    traced = Traced(seen(source))
    twin = _twin(source, seen) if with_truth else None

    def logits(wanted: Mapping[int, str]) -> Logits | None:
        if twin is not None and twin[1].kinds != traced.kinds:
            return None
        kinds = {place: kind for place, kind in traced.kinds.items() if wanted.get(place) == kind}
        truth = None if twin is None else Truth(twin[0], twin[1].showing(kinds))
        return Logits(kinds, traced.showing(kinds), truth) if kinds else None

    return Reference(
        source.name,
        source.sha256,
        source.inputs,
        source.outputs,
        traced.outputs,
        None if twin is None else Truth(twin[0], twin[1].outputs),
        DISTRUST if computes_in(source) is None else 1.0,
        _embedded(source),
        logits=logits,
        builds=partial(_builds, source.model),
    )


def onnx_reference(file: OnnxFile) -> Reference:
    """An ONNX file, as onnxruntime runs it without optimisations."""
    runtime = open_runtime(file, "off", 1)

    def once(inputs: Inputs) -> list[Any]:
        return runtime.call({tensor.name: array for tensor, array in zip(runtime.inputs, inputs, strict=True)})

    def logits(wanted: Mapping[int, str]) -> Logits | None:
        found = endings(file.model)
        kinds = {place: kind for place, kind in wanted.items() if place in found and found[place].kind == kind}
        twin = with_logits(file, list(kinds)) if kinds else None
        return None if twin is None else Logits(kinds, onnx_reference(twin).run, file=twin)

    return Reference(
        file.name,
        file.sha256,
        runtime.inputs,
        runtime.outputs,
        Run(once, fixed_batch(runtime.inputs) or _BATCH),
        index_ranges=file.anatomy.index_ranges,
        file=file,
        logits=logits,
    )


class Traced:
    """`source`, traced once, to be run on arrays of samples. Raises InputError if Keras can not run it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def outputs(self) -> Run:
        """A function that gives the outputs alone."""
        return self._run(range(len(self._source.outputs)))

    def showing(self, kinds: Iterable[int]) -> Run:
        """A function that gives the outputs, and behind them the logits of those at these places."""
        count, known = len(self._source.outputs), list(self.kinds)
        return self._run([*range(count), *(count + known.index(place) for place in kinds)])

    @cached_property
    def kinds(self) -> dict[int, str]:
        """Which outputs have logits, and what is behind those."""
        try:
            _, logits = self._traced.get_concrete_function().structured_outputs
        except self._failures as error:
            raise InputError(f"{self._source.name}: Keras can not run it: {_first_line(error)}") from error
        return {index: kind for index, found in enumerate(logits) for kind in found}

    def _run(self, places: Sequence[int]) -> Run:
        return Run(lambda inputs: self._results(inputs, places), fixed_batch(self._source.inputs) or _BATCH)

    def _results(self, arrays: Inputs, places: Sequence[int]) -> list[NDArray[Any]]:
        tensorflow = backends.tensorflow()
        try:
            results = tensorflow.nest.flatten(self._traced(*map(tensorflow.constant, arrays)))
            return [np.asarray(results[place]) for place in places]
        except self._failures as error:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise InputError(f"{self._source.name}: Keras can not run it on {shapes}: {_first_line(error)}") from error

    @cached_property
    def _traced(self) -> Any:
        tensorflow = backends.tensorflow()
        signature = [tensorflow.TensorSpec(tensor.shape, tensor.dtype) for tensor in self._source.inputs]
        return tensorflow.function(with_keras_logits(self._source).call, autograph=False, input_signature=signature)

    @cached_property
    def _failures(self) -> tuple[type[Exception], ...]:
        return ValueError, TypeError, backends.tensorflow().errors.OpError


def float64_truth(source: Source) -> Truth | None:
    """`source` in float64; None where the model can not be rebuilt so."""
    twin = _twin(source, lambda source: source)
    return None if twin is None else Truth(twin[0], twin[1].outputs)


def _twin(source: Source, seen: Callable[[Source], Source]) -> tuple[Any, Traced] | None:
    twin = in_precision(source, "float64")
    return None if twin is None else (twin.model, Traced(seen(twin)))


def _builds(model: Any, inputs: Inputs) -> bool:
    """Whether Keras can say of what shapes the outputs are; true of all where it can not say it of the model itself."""
    return model is None or _has_shapes(model, inputs) or not _has_shapes(model, model.inputs)


def _has_shapes(model: Any, arrays: Sequence[Any]) -> bool:
    keras = backends.keras()
    given = [keras.KerasTensor(tuple(array.shape), str(array.dtype)) for array in arrays]
    try:
        model.compute_output_spec(given[0] if len(given) == 1 else keras.tree.pack_sequence_as(model.input, given))
    except ValueError:
        return False
    return True


def _embedded(source: Source) -> dict[str, int]:
    """The vocabulary of every Embedding that reads an input of the model itself, by the input's name."""
    if source.model is None:
        return {}
    names = {id(tensor): named.name for tensor, named in zip(source.model.inputs, source.inputs, strict=True)}
    found: dict[str, int] = {}
    embeddings = [layer for layer in source.layers.values() if type(layer).__name__ == "Embedding"]
    for layer in embeddings:
        tensors = (tensor for node in layer._inbound_nodes for tensor in node.input_tensors)
        for name in (names[id(tensor)] for tensor in tensors if id(tensor) in names):
            found[name] = min(found.get(name, layer.input_dim), layer.input_dim)
    return found


def _rounded(weight: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if weight.dtype.kind != "f":
        return weight
    return weight * (1.0 + _HALF_ULP * rng.choice((-1.0, 1.0), weight.shape))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
