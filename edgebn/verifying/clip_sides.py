"""Inputs that drive the channels of a model's clips to both of their sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.probes import CLIP_SIDES, HUGE, Plan, Probe, random_probe
from edgebn.verifying.samples import Inputs, Outputs
from edgebn.verifying.sessions import RunError, Runtime, open_runtime

_POOLS = ("normal", "uniform", "signed", "constants", "single elements", "border", "large")
_MOST_POOLS, _WORK = 16, 1_000_000_000
"""Pools of other seeds are tried while a side is missing: so many, and so many multiplications, at most."""
_BATCH = 8
_MOST_TENSORS = 512
_LARGE = 50_000_000

Running = Callable[[Runtime, Inputs, int], Outputs]
"""A runtime of a file, on the inputs that a plan speaks of, in batches of so many."""

Pool = tuple[Inputs, NDArray[np.bool_]]
"""Samples, and for each a row that says which sides it reaches."""


@dataclass(frozen=True, eq=False)
class ClipSides:
    """Probes that reach `reached` of all `sides`, two of every channel of every clip."""

    probes: tuple[Probe, ...] = ()
    reached: int = 0
    sides: int = 0


def clip_sides(plan: Plan, file: OnnxFile, run: Running, *, of_whole: bool = False) -> ClipSides:
    """The samples that together reach most sides, out of a pool; and huge ones, for sides that none of it reaches.

    A channel of a clip has two sides: some element passes as it is, some is clipped. There is no probe if the file has
    no clips.
    """
    clips = file.anatomy.clips[:_MOST_TENSORS]
    if not clips:
        return ClipSides()
    shown = file.showing([name for pair in clips for name in pair])
    batch = plan.fixed_batch or (_BATCH if file.anatomy.multiplications < _LARGE else 1)
    reaching = partial(_reached, partial(run, open_runtime(shown, "off", 1, of_whole=of_whole)), batch)
    work = file.anatomy.multiplications * plan.samples * len(_POOLS)
    try:
        return _found(plan, reaching, min(_MOST_POOLS, _WORK // max(1, work)))
    except RunError:  # which the other probes show as well
        return ClipSides()


def _found(plan: Plan, reaching: Callable[[Inputs], NDArray[np.bool_]], most: int) -> ClipSides:
    """Huge samples are a probe of their own: a tolerance rests on the largest numbers of a probe."""
    samples, reached = _pools(plan, reaching, most)
    done = np.asarray(reached.any(axis=0))
    found = [_probe(plan, CLIP_SIDES, samples, reached)]
    if most > 0 and not done.all():
        samples, reached = _pool(plan, reaching, (HUGE,))
        fresh = reached & ~done
        found += [_probe(plan, f"{CLIP_SIDES}, {HUGE}", samples, fresh)] if fresh.any() else []
        done |= fresh.any(axis=0)
    return ClipSides(tuple(found), int(done.sum()), len(done))


def _probe(plan: Plan, name: str, samples: Inputs, reached: NDArray[np.bool_]) -> Probe:
    chosen = _greedy(reached, plan.whole_batches(plan.samples))
    return Probe(name, tuple(array[chosen] for array in samples), plan.batch_sizes)


def _pools(plan: Plan, reaching: Callable[[Inputs], NDArray[np.bool_]], most: int) -> Pool:
    """Samples, more as long as sides are missing and there were fewer than `most` pools."""
    samples, reached = _pool(plan, reaching, _POOLS)
    for turn in range(1, most):
        if reached.any(axis=0).all():
            break
        others, more = _pool(replace(plan, seed=plan.seed + turn), reaching, _POOLS)
        fresh = (more & ~reached.any(axis=0)).any(axis=1)
        samples = tuple(np.concatenate([a, b[fresh]]) for a, b in zip(samples, others, strict=True))
        reached = np.concatenate([reached, more[fresh]])
    return samples, reached


def _pool(plan: Plan, reaching: Callable[[Inputs], NDArray[np.bool_]], kinds: tuple[str, ...]) -> Pool:
    drawn = [random_probe(plan, name) for name in kinds]
    samples = tuple(np.concatenate(arrays) for arrays in zip(*(probe.inputs for probe in drawn), strict=True))
    return samples, reaching(samples)


def _reached(run: Callable[[Inputs, int], Outputs], batch: int, inputs: Inputs) -> NDArray[np.bool_]:
    """For each sample a row that says which sides it reaches."""
    starts = range(0, len(inputs[0]), batch)
    parts = (tuple(array[start : start + batch] for array in inputs) for start in starts)
    return np.concatenate([_rows(run(part, batch), len(part[0])) for part in parts])


def _rows(results: Outputs, samples: int) -> NDArray[np.bool_]:
    pairs = zip(results[::2], results[1::2], strict=True)
    of_samples = [pair for pair in pairs if pair[0].shape == pair[1].shape and pair[0].shape[0] == samples]
    nothing = np.zeros((samples, 0), bool)
    return np.concatenate([nothing, *(_sides(*pair) for pair in of_samples if pair[0].ndim > 1)], axis=1)


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
