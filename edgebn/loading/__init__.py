"""Opening the model that a file, a folder or the caller gives: its tensors, its names, and a way to call it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebn import backends, files
from edgebn.errors import InputError, UsageError
from edgebn.loading.formats import ONNX_WANTED, check_safe, h5_config, kind_of
from edgebn.loading.keras2 import without_superfluous_keys

__all__ = ["ONNX_WANTED", "Source", "Tensor", "kind_of", "open_source"]

_AUTOMATIC_INPUT = re.compile(r"(keras_tensor|input_layer|inputs?)(_\d+)?")
_AUTOMATIC_OUTPUT = re.compile(r"outputs?(_\d+)?")
_AT_LOADING = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model. `shape` has the batch axis first; None is an extent that may vary."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class Source:
    """A Keras model or a SavedModel.

    `call` takes one TensorFlow tensor for each of `inputs` and returns a tuple of one for each of `outputs`. `layers`
    maps paths, `block/dense`, to Keras layers. A SavedModel has neither `model` nor layers, only their paths.
    """

    name: str
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: Mapping[str, Any]
    call: Callable[..., tuple[Any, ...]]
    model: Any | None


def open_source(model_or_path: Any, *, trust: bool = False) -> Source:
    """Open a Keras model: one in memory, a `.keras` or `.h5` file, or a SavedModel folder.

    Args:
        model_or_path: a `keras.Model` with known inputs, or a path.
        trust: allow layers that run code which the file brings along (Lambda).

    Raises:
        UsageError: if there is nothing at the path, or the argument is neither a model nor a path.
        InputError: if the file is damaged, unsafe, or not a Keras model.
    """
    if not isinstance(model_or_path, str | Path):
        return _from_model(model_or_path, "model", None)
    path = Path(model_or_path)
    kind = kind_of(path)
    if kind == "onnx":
        raise InputError(f"{path}: is an ONNX file, but a Keras model is expected here; pass the .keras file")
    if kind == "saved_model":
        backends.tensorflow()
    if not trust:
        check_safe(path, kind)
    if kind == "saved_model":
        return _from_saved_model(path)
    return _from_model(_load(path, kind, trust), path.name, files.sha256(path))


def _load(path: Path, kind: str, trust: bool) -> Any:
    keras = backends.keras()
    suffix = ".keras" if kind == "keras" else ".h5"
    allocation_failed = backends.tensorflow().errors.OpError
    try:
        with backends.silenced(), _as_keras_takes_it(path, suffix) as named:
            return keras.saving.load_model(named, compile=False, safe_mode=not trust)
    except (*_AT_LOADING, *files.DAMAGED_ZIP, MemoryError, allocation_failed) as error:
        raise InputError(f"{path}: Keras can not load it: {_first_line(error)}") from error


@contextlib.contextmanager
def _as_keras_takes_it(path: Path, suffix: str) -> Iterator[Path]:
    """`path` under a name that ends in `suffix`, by which Keras tells formats apart, and without keys of Keras 2."""
    config = h5_config(path) if suffix == ".h5" else None
    current = without_superfluous_keys(config)
    if path.suffix == suffix and current == config:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"model{suffix}"
        if current == config:
            named.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, named)
            _set_config(named, current)
        yield named


def _set_config(path: Path, config: Any) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)


def _first_line(error: BaseException) -> str:
    cause = str(error).rpartition("Exception encountered: ")[2]  # Keras puts what it was doing before it
    lines = [line.strip() for line in cause.splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 240 else f"{text[:240]}…"


def _from_model(model: Any, name: str, sha256: str | None) -> Source:
    keras = backends.keras()
    if not isinstance(model, keras.Model):
        raise UsageError(f"{type(model).__name__}: neither a Keras model nor a path to one")
    layers, sha256 = _layers(model), sha256 or _model_sha256(model)
    if not getattr(model, "inputs", None):
        model = _with_inputs(model, name)
    inputs: list[tuple[str | None, Any]] = [(_chosen(tensor.name, _AUTOMATIC_INPUT), tensor) for tensor in model.inputs]
    # a Sequential model that was never called has inputs and outputs, but neither input nor output
    single = isinstance(model, keras.Sequential)
    packed, results = (model.inputs[0], model.outputs[0]) if single else (model.input, model.output)
    outputs: list[tuple[str | None, Any]]
    named = isinstance(results, dict) and not any(isinstance(each, dict | list | tuple) for each in results.values())
    keys = list(results) if named else None
    if keys is not None:
        outputs = [(str(key), results[key]) for key in keys]
    else:
        outputs = [(_chosen_output(tensor), tensor) for tensor in model.outputs]

    def call(*tensors: Any) -> tuple[Any, ...]:
        result = model(keras.tree.pack_sequence_as(packed, tensors), training=False)
        return tuple(keras.tree.flatten(result) if keys is None else (result[key] for key in keys))

    taken: set[str] = set()
    tensors = _tensors(inputs, "input", taken), _tensors(outputs, "output", taken)
    return Source(name, sha256, *tensors, layers, call, model)


def _with_inputs(model: Any, name: str) -> Any:
    """A subclassed model as a functional one, with inputs of the shapes that it was built for."""
    keras = backends.keras()
    shapes = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if not shapes:
        raise InputError(
            f"{name}: the shapes of its inputs are not known; call it once on data, or wrap it in a functional model: "
            "keras.Model(x, model(x)) with x = keras.Input(…)"
        )
    inputs = _inputs(shapes)
    try:
        with backends.silenced():
            return keras.Model(inputs, model(inputs, training=False))
    except _AT_LOADING as error:
        raise InputError(
            f"{name}: can not be traced on the shapes that it was built for: {_first_line(error)}"
        ) from error


def _inputs(shapes: Any, name: str | None = None) -> Any:
    """Keras inputs in the structure of `shapes`, named after its keys; the first axis of each is the batch."""
    keras = backends.keras()
    if isinstance(shapes, dict):
        return {key: _inputs(shape, str(key)) for key, shape in shapes.items()}
    if all(extent is None or isinstance(extent, int) for extent in shapes):
        return keras.Input(tuple(shapes[1:]), name=name)
    return [_inputs(shape) for shape in shapes]


def _from_saved_model(path: Path) -> Source:
    tensorflow = backends.tensorflow()
    try:
        with backends.silenced():
            loaded = tensorflow.saved_model.load(str(path))
    except (*_AT_LOADING, tensorflow.errors.OpError) as error:
        raise InputError(f"{path}: TensorFlow can not load it: {_first_line(error)}") from error
    signatures = dict(getattr(loaded, "signatures", {}))
    if not signatures:
        raise InputError(f"{path}: has no signature to call; write it with model.export(…)")
    chosen = "serving_default" if "serving_default" in signatures else min(signatures)
    function = signatures[chosen]
    # TensorFlow keeps both in maps without an order
    specs = _sorted(function.structured_input_signature[1])
    results = _sorted(function.structured_outputs)

    def call(*tensors: Any) -> tuple[Any, ...]:
        result = loaded.signatures[chosen](**dict(zip(specs, tensors, strict=True)))  # `loaded` owns the variables
        return tuple(result[key] for key in results)

    taken: set[str] = set()
    inputs = [(_chosen(name, _AUTOMATIC_INPUT), spec) for name, spec in specs.items()]
    outputs = [(_chosen(name, _AUTOMATIC_OUTPUT), spec) for name, spec in results.items()]
    tensors = _tensors(inputs, "input", taken), _tensors(outputs, "output", taken)
    layers = dict.fromkeys(str(Path(variable.name).parent) for variable in function.graph.variables)
    return Source(path.resolve().name, files.sha256(path), *tensors, layers, call, None)


def _layers(model: Any) -> dict[str, Any]:
    """Every layer inside of the model by its path, outer before inner; what is reached twice keeps its first path."""
    found: dict[str, Any] = {}
    seen = {id(model)}
    pending = deque([("", model)])
    while pending:
        prefix, outer = pending.popleft()
        for layer in outer._layers:
            if id(layer) not in seen:
                seen.add(id(layer))
                path = f"{prefix}{layer.name}"
                found[path] = layer
                pending.append((f"{path}/", layer))
    return found


def _sorted(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """By name, and output_2 before output_10."""

    def key(name: str) -> list[str | int]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return {name: tensors[name] for name in sorted(tensors, key=key)}


def _chosen(name: str, automatic: re.Pattern[str]) -> str | None:
    """The name if a person chose it, None if a framework made it up."""
    return None if automatic.fullmatch(name) else name


def _chosen_output(tensor: Any) -> str | None:
    operation = tensor._keras_history.operation
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(operation).__name__).lower()
    made_up = rf"({snake}|{snake.replace('_', '')}|{_AUTOMATIC_INPUT.pattern})(_\d+)?"
    return _chosen(operation.name, re.compile(made_up))


def _tensors(named: Sequence[tuple[str | None, Any]], role: str, taken: set[str]) -> tuple[Tensor, ...]:
    """The tensors under their chosen names, or `input`, `output` (`input_0`… where there are several)."""
    tensors = []
    for index, (chosen, tensor) in enumerate(named):
        name = base = chosen or (role if len(named) == 1 else f"{role}_{index}")
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        shape = tuple(None if extent is None else int(extent) for extent in tensor.shape)
        tensors.append(Tensor(name, shape, getattr(tensor.dtype, "name", tensor.dtype)))
    return tuple(tensors)


def _model_sha256(model: Any) -> str:
    """Of a model in memory: over its architecture as JSON, and the bytes of its weights in order."""
    try:
        architecture = model.to_json()
    except NotImplementedError:  # a class with arguments and no get_config
        architecture = type(model).__qualname__
    digest = hashlib.sha256(architecture.encode())
    for variable in model.weights:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
