"""The float32 model in another precision, with all that a user must know before taking it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn.benching.contents import USUAL_EXTENTS, side_by_side
from edgebn.errors import InputError, UsageError
from edgebn.measurements import Precision
from edgebn.quantizing.half import halved
from edgebn.quantizing.integers import Feed, in_integers
from edgebn.quantizing.measuring import Comparing, Inputs, in_whole_batches
from edgebn.verifying.data import Data, open_data
from edgebn.verifying.endings import thresholds
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.probes import NORMAL, Plan, random_probe, uniform
from edgebn.verifying.sessions import Runtime, open_runtime

FLOAT32, FLOAT16, INT8 = PRECISIONS = ("fp32", "fp16", "int8")
_MOST_CALIBRATING = 512
_RANDOM = 32
_BATCH = 32

Chunk = tuple[Inputs, NDArray[Any] | None]


class Lowered(NamedTuple):
    """The file to write, its model, and what was measured of it."""

    content: bytes
    model: ir.Model
    report: Precision


def check_precision(precision: str, data: str | Path | None, **others: Any) -> None:
    """Raise UsageError for what can not be done, before anything long is done.

    `others` are the options that speak of the float32 file alone, with what they are set to.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if precision == INT8 and data is None:
        raise UsageError(
            "--precision int8 needs data to calibrate on, such as the model will meet: give --data; "
            "random numbers would cost much of the accuracy"
        )
    if precision == FLOAT32 and data is not None:
        raise UsageError("--data is for --precision fp16 and int8; `edgebn verify --data` compares a float32 file")
    for name, value in others.items():
        if precision != FLOAT32 and value:
            raise UsageError(f"--{name} holds for equal files, and --precision {precision} changes every number")


def lowered(name: str, content: bytes, model: ir.Model, precision: str, data: str | Path | None) -> Lowered:
    """The model of `content` in `precision`, fp16 or int8, and both compared on the data.

    Without data, fp16 is compared on the bundled digits, if the model takes them, or else on random numbers.

    Raises:
        UsageError, InputError: if the data can not be read, or are not the model's, or one sample alone for int8.
        ConversionError: if it can not be quantized.
    """
    file = in_memory(name, content, model)
    float32 = open_runtime(file, "all", 1)
    decides = bool(thresholds(model, name))
    opened = open_data(name, float32.inputs, data, outputs=float32.outputs, decides=decides)
    kept: tuple[str, ...] = ()
    if precision == INT8 and opened is not None:
        if opened.samples == 1:
            raise InputError(
                f"{opened.name}: one sample; int8 takes one to be calibrated on, and another to be judged by"
            )
        made = in_integers(name, content, _feeds(opened, float32))
        smaller = ir.from_proto(onnx.load_from_string(made))
    else:
        smaller, kept = halved(model)
        made = _without_shapes(ir.to_proto(smaller)).SerializeToString(deterministic=True)
    runtime = open_runtime(in_memory(name, made, smaller), "all", 1)
    comparing = Comparing(float32, runtime, thresholds(model, name))
    outputs = comparing.take(_compared(opened, file, float32, precision))
    float32_timed, timed = side_by_side([content, made], () if opened is None else opened.sizes)
    report = Precision(
        precision=precision,
        data=None if opened is None else opened.name,
        samples=comparing.samples,
        calibrated_on=_calibrating(opened) if opened is not None and precision == INT8 else 0,
        onnx_bytes=len(made),
        float32_bytes=len(content),
        float32_sha256=file.sha256,
        outputs=outputs,
        timed=timed,
        float32_timed=float32_timed,
        kept_in_float32=kept,
    )
    return Lowered(made, smaller, report)


def _without_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the shapes between nodes, constants among them, which every reader infers, and which take up bytes."""
    proto.graph.ClearField("value_info")
    return proto


def _step(data: Data) -> int:
    """Every how many samples one is for calibration: half of them at most, and few enough."""
    return max(2, -(-data.samples // _MOST_CALIBRATING))


def _calibrating(data: Data) -> int:
    return -(-data.samples // _step(data))


def _feeds(data: Data, runtime: Runtime) -> Iterator[Feed]:
    """The samples for calibration, in batches that the file takes."""
    names = [tensor.name for tensor in runtime.inputs]
    size = runtime.inputs[0].shape[0] or _BATCH
    for chunk, _ in _divided(data, calibrating=True):
        inputs = in_whole_batches(chunk, runtime.inputs[0].shape[0] or 1)
        for start in range(0, len(inputs[0]), size):
            yield dict(zip(names, (array[start : start + size] for array in inputs), strict=True))


def _divided(data: Data, *, calibrating: bool) -> Iterator[Chunk]:
    """Every so many samples, or all others."""
    step, seen = _step(data), 0
    for inputs, labels in data.read():
        numbers = np.arange(seen, seen + len(inputs[0]))
        seen += len(numbers)
        chosen = (numbers % step == 0) == calibrating
        yield tuple(array[chosen] for array in inputs), None if labels is None else labels[chosen]


def _compared(data: Data | None, file: OnnxFile, runtime: Runtime, precision: str) -> Iterator[Chunk]:
    """What to compare on: the data, without what int8 has been calibrated on; random numbers if there are none."""
    if data is None:
        yield _random(file, runtime), None
    elif precision == INT8:
        yield from _divided(data, calibrating=False)
    else:
        yield from data.read()


def _random(file: OnnxFile, runtime: Runtime) -> Inputs:
    """Random numbers; what may vary is as long as the first usual length that the file runs on."""
    batch = runtime.inputs[0].shape[0]
    plan = Plan(runtime.inputs, file.anatomy.index_ranges, 0, _RANDOM, fixed_batch=batch)
    if plan.has_varying_extents:
        for extent in USUAL_EXTENTS:
            sized = replace(plan, given_sizes=uniform(runtime.inputs, extent))
            with suppress(InputError):
                runtime.run(random_probe(sized, NORMAL, samples=batch or 1).inputs, batch or 1)
                return random_probe(sized, NORMAL).inputs
    return random_probe(plan, NORMAL).inputs
