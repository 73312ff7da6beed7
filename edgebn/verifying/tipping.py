"""Which integers and booleans rounding may tip: the index of one of two scores that are as good as equal, and such.

The graph that says so is the reference's own where it is an ONNX file, else that of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgebn.errors import InputError
from edgebn.verifying.candidate import Candidate
from edgebn.verifying.compare import EPSILON, PLAIN_ROUNDINGS, Precision, absolute, coarsest, magnitudes
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.reference import Reference
from edgebn.verifying.samples import Inputs, Outputs
from edgebn.verifying.sessions import RunError, Runtime, open_runtime

Slack = NDArray[np.float64] | None
Tips = Callable[[Inputs, NDArray[Any]], Slack]

_ONE_STEP = 1.0


def tipping(reference: Reference, candidate: Candidate) -> list[Tips]:
    """For each output a function of the inputs and of what is expected: how far each element may be off.

    None is for floats, and for what is made of no float, which no rounding changes. Of two files that compare floats,
    both must be close to the threshold: behind a ReLU all that is negative lies on it.
    """
    names = [candidate.runtimes[0].outputs[position].name for position in candidate.match.outputs]
    theirs = partial(_run, lambda inputs: inputs, candidate.match.inputs)
    if reference.file is None:
        return [_tips(reference, candidate.file, name, theirs) for name in names]
    run = partial(_run, reference.take, tuple(each.name for each in reference.inputs))
    found = []
    for tensor, name in zip(reference.outputs, names, strict=True):
        tips = _tips(reference, reference.file, tensor.name, run)
        if tensor.name in reference.file.anatomy.thresholds and name in candidate.file.anatomy.thresholds:
            tips = partial(_both, tips, _tips(reference, candidate.file, name, theirs))
        found.append(tips)
    return found


def _both(ours: Tips, theirs: Tips, inputs: Inputs, expected: NDArray[Any]) -> Slack:
    """The smaller one of each element."""
    slacks = [tips(inputs, expected) for tips in (ours, theirs)]
    known = [slack for slack in slacks if slack is not None]
    return np.minimum.reduce(known) if known else None


def _tips(reference: Reference, file: OnnxFile, name: str, run: Callable[[Runtime, Inputs], Outputs]) -> Tips:
    whole, stepped = reference.is_of_whole_arrays, partial(_stepped, name in file.anatomy.made_of_floats)
    if name not in file.anatomy.dtypes:  # the scores that a class is compared by
        return stepped
    precision = coarsest(file.anatomy.dtypes[name])
    if name in file.anatomy.choices:
        scores, axis, keeps = file.anatomy.choices[name]
        axis += whole and axis >= 0
        runtime = open_runtime(file.showing([scores]), "off", 1, of_whole=whole)
        return partial(_chosen, partial(run, runtime), axis, keeps, precision)
    if name in file.anatomy.thresholds:
        twin = file.showing_margin(*file.anatomy.thresholds[name], name)
        try:
            runtime = open_runtime(twin, "off", 1, of_whole=whole)
        except InputError:  # it does not subtract bfloat16
            return stepped
        return partial(_compared, partial(run, runtime), precision, stepped)
    return stepped


def _run(take: Callable[[Inputs], Inputs], order: tuple[str, ...], runtime: Runtime, inputs: Inputs) -> Outputs:
    batch = next((each.shape[0] for each in runtime.inputs if each.shape and each.shape[0]), len(inputs[0]))
    return runtime.run(take(inputs), batch, order)


def _chosen(
    run: Callable[[Inputs], Outputs],
    axis: int,
    keeps: bool,
    precision: Precision,
    inputs: Inputs,
    _: NDArray[Any],
) -> Slack:
    """Infinity where the largest score is ahead of the second by rounding only."""
    try:
        (scores,) = run(inputs)
    except RunError:
        return None
    if scores.shape[axis] < 2:
        return None
    ordered = np.moveaxis(np.sort(np.asarray(scores, np.float64), axis=axis), axis, 0)
    allowed = 2.0 * precision.roundings * precision.epsilon * np.abs(ordered).max(axis=0)
    slack: NDArray[np.float64] = np.where(absolute(ordered[-1], ordered[-2]) <= allowed, np.inf, 0.0)
    return np.asarray(np.expand_dims(slack, axis) if keeps else slack)


def _compared(
    run: Callable[[Inputs], Outputs], precision: Precision, otherwise: Tips, inputs: Inputs, expected: NDArray[Any]
) -> Slack:
    """Infinity where one of the two is ahead of the other by rounding only, by the scale of its column."""
    try:
        margin, sizes, own = run(inputs)
    except RunError:
        return otherwise(inputs, expected)
    if own.shape != expected.shape or margin.size != own.size:  # in another layout
        return otherwise(inputs, expected)
    columns = magnitudes(sizes).reshape(-1, sizes.shape[-1] if sizes.ndim > 1 else 1)
    allowed = 2.0 * precision.roundings * precision.epsilon * columns.max(axis=0, initial=0.0)
    margins = np.abs(margin.astype(np.float64)).reshape(columns.shape)
    return np.asarray(np.where(margins <= allowed, np.inf, 0.0).reshape(expected.shape))


def _stepped(made_of_floats: bool, _: Inputs, expected: NDArray[Any]) -> Slack:
    """One step for what is made of floats; integers that floats hold are as coarse as those are."""
    if expected.dtype.kind not in "biu" or not made_of_floats:
        return None
    sizes = np.abs(expected.astype(np.float64))
    return np.asarray(
        np.maximum(_ONE_STEP, PLAIN_ROUNDINGS * EPSILON * sizes.max(initial=0.0)) + np.zeros(expected.shape)
    )
