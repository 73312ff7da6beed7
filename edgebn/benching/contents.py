"""Models that are in no file yet, timed side by side: a short run of one sample a call on one thread.

It is the thread's own time, so that what else a busy machine does is not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from time import process_time

from edgebn.benching.inputs import Input, draw, fixed_batch
from edgebn.benching.sessions import Session, open_session
from edgebn.benching.timing import Call, interleaved
from edgebn.errors import InputError
from edgebn.measurements import Timed

SECONDS = 2.0
"""For each model, and five rounds at least."""

USUAL_EXTENTS = (32, 64, 96, 128, 224, 299, 16, 8, 4, 2, 1)
"""What may vary is as long as the first of these that the model runs on."""


def side_by_side(contents: Sequence[bytes], sizes: Sequence[tuple[int, ...]] = ()) -> list[Timed]:
    """Serialized models of the same inputs, called in turn; ratios are to the first.

    Args:
        contents: the models.
        sizes: the shape of a sample, for each input; by default, what may vary is as long as is usual.

    Raises:
        InputError: if onnxruntime can not load one, or can not run it on random numbers of its own shapes.
    """
    with tempfile.TemporaryDirectory() as folder:
        sessions = [_session(Path(folder, f"{index}.onnx"), content) for index, content in enumerate(contents)]
        extents = _extents_that_run(sessions[0], sizes)
        calls = [_caller(session, extents) for session in sessions]
        (samples,) = interleaved([calls], seconds=SECONDS * len(calls), seed=0, clock=process_time)
    return [Timed(each.latency(), each.ratio_to(samples[0])) for each in samples]


def _session(path: Path, content: bytes) -> Session:
    path.write_bytes(content)
    return open_session(path, threads=1)


def _extents_that_run(session: Session, sizes: Sequence[tuple[int, ...]]) -> Mapping[str, int]:
    """Those of the sizes, or else the first that the model runs on."""
    failure: InputError | None = None
    for extents in _candidates(session.inputs, sizes):
        try:
            _caller(session, extents)
        except InputError as error:
            failure = failure or error
        else:
            return extents
    raise InputError("the model can not be timed: onnxruntime runs it on none of the sizes tried") from failure


def _candidates(inputs: Sequence[Input], sizes: Sequence[tuple[int, ...]]) -> Iterator[Mapping[str, int]]:
    """The extents that are symbols, but the batch."""
    axes = [each.shape[1:] for each in inputs]
    varying = {symbol for shape in axes for symbol in shape if isinstance(symbol, str)}
    if sizes:
        pairs = chain.from_iterable(zip(shape, size, strict=True) for shape, size in zip(axes, sizes, strict=True))
        yield {str(symbol): extent for symbol, extent in pairs if symbol in varying}
    for extent in USUAL_EXTENTS if varying else USUAL_EXTENTS[:1]:
        yield dict.fromkeys(varying, extent)


def _caller(session: Session, extents: Mapping[str, int]) -> Call:
    batch_size = fixed_batch(session.inputs, session.first_extents, extents) or 1
    return session.caller(draw(session.path, session.inputs, batch_size, extents, seed=0))
