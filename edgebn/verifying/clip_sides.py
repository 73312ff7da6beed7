"""Inputs that drive the channels of a model's clips to both of their sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.probes import CLIP_SIDES, Plan, Probe, random_probe
from edgebn.verifying.samples import Inputs
from edgebn.verifying.sessions import RunError, Runtime, open_runtime

_POOLS = ("normal", "uniform", "signed", "constants", "single elements", "border", "large")
_MOST_POOLS, _WORK = 16, 1_000_000_000
"""Pools of other seeds are tried while a side is missing: so many, and so many multiplications, at most."""
_BATCH = 8
_MOST_TENSORS = 512
_LARGE = 50_000_000


def clip_sides_probe(
    plan: Plan, file: OnnxFile, names: tuple[str, ...], *, of_whole: bool = False
) -> tuple[Probe | None, int, int]:
    """The samples that together reach most sides, out of a pool; how many sides they reach, and of how many.

    A channel of a clip has two sides: some element passes as it is, some is clipped. `names` are the file's inputs, in
    the plan's order. No probe is returned if the file has no clips.
    """
    clips = file.anatomy.clips[:_MOST_TENSORS]
    if not clips:
        return None, 0, 0
    shown = file.showing([name for pair in clips for name in pair])
    runtime = open_runtime(shown, "off", 1, of_whole=of_whole)
    try:
        candidates, reached = _pools(plan, file, runtime, names)
    except RunError:  # which the other probes show as well
        return None, 0, 0
    chosen = _greedy(reached, plan.whole_batches(plan.samples))
    inputs = tuple(array[chosen] for array in candidates)
    return Probe(CLIP_SIDES, inputs, plan.batch_sizes), int(reached.any(axis=0).sum()), reached.shape[1]


def _pools(plan: Plan, file: OnnxFile, runtime: Runtime, names: tuple[str, ...]) -> tuple[Inputs, NDArray[np.bool_]]:
    """Samples, more as long as sides are missing and more can be afforded, and which sides each of them reaches."""
    batch = plan.fixed_batch or (_BATCH if file.anatomy.multiplications < _LARGE else 1)
    samples, reached = _pool(plan, runtime, names, batch)
    work = file.anatomy.multiplications * plan.samples * len(_POOLS)
    for turn in range(1, min(_MOST_POOLS, _WORK // max(1, work))):
        if reached.any(axis=0).all():
            break
        others, more = _pool(replace(plan, seed=plan.seed + turn), runtime, names, batch)
        fresh = (more & ~reached.any(axis=0)).any(axis=1)
        samples = tuple(np.concatenate([a, b[fresh]]) for a, b in zip(samples, others, strict=True))
        reached = np.concatenate([reached, more[fresh]])
    return samples, reached


def _pool(plan: Plan, runtime: Runtime, names: tuple[str, ...], batch: int) -> tuple[Inputs, NDArray[np.bool_]]:
    """Samples of several kinds, and for each a row that says which sides it reaches."""
    drawn = [random_probe(plan, name) for name in _POOLS]
    samples = tuple(np.concatenate(arrays) for arrays in zip(*(probe.inputs for probe in drawn), strict=True))
    return samples, np.concatenate(list(_reached(runtime, samples, names, batch)))


def _reached(runtime: Runtime, inputs: Inputs, names: tuple[str, ...], batch: int) -> Iterator[NDArray[np.bool_]]:
    """For each sample a row that says which sides it reaches."""
    for start in range(0, len(inputs[0]), batch):
        given = tuple(array[start : start + batch] for array in inputs)
        results = runtime.run(given, batch, names)
        pairs = zip(results[::2], results[1::2], strict=True)
        of_samples = [pair for pair in pairs if pair[0].shape == pair[1].shape and pair[0].shape[0] == len(given[0])]
        nothing = np.zeros((len(given[0]), 0), bool)
        yield np.concatenate([nothing, *(_sides(*pair) for pair in of_samples if pair[0].ndim > 1)], axis=1)


def _sides(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether in each sample and channel (axis 1) some element passes, and whether some is clipped."""
    passes = (before == after).reshape(*before.shape[:2], -1)
    return np.concatenate([passes.any(axis=2), (~passes).any(axis=2)], axis=1)


def _greedy(reached: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """`count` rows, each the one that adds most to those before it."""
    missing = np.ones(reached.shape[1], bool)
    chosen: list[int] = []
    for _ in range(count):
        gains = (reached & missing).sum(axis=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        missing &= ~reached[chosen[-1]]
    return np.sort(np.array(chosen))
