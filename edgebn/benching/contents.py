"""Models that are in no file yet, timed side by side: a short run of one sample a call on one thread.

It is the thread's own time, so that what else a busy machine does is not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import process_time

from edgebn.benching.inputs import draw, fixed_batch
from edgebn.benching.sessions import open_session
from edgebn.benching.timing import Call, interleaved
from edgebn.measurements import Timed

SECONDS = 2.0
"""For each model, and five rounds at least."""


def side_by_side(contents: Sequence[bytes]) -> list[Timed]:
    """Serialized models of the same inputs, called in turn; ratios are to the first.

    Raises:
        InputError: if onnxruntime can not load one, or can not run it on random numbers of its own shapes.
    """
    with tempfile.TemporaryDirectory() as folder:
        calls = [_caller(Path(folder, f"{index}.onnx"), content) for index, content in enumerate(contents)]
        (samples,) = interleaved([calls], seconds=SECONDS * len(calls), seed=0, clock=process_time)
    return [Timed(each.latency(), each.ratio_to(samples[0])) for each in samples]


def _caller(path: Path, content: bytes) -> Call:
    path.write_bytes(content)
    session = open_session(path, threads=1)
    batch_size = fixed_batch(session.inputs, session.first_extents, {}) or 1
    return session.caller(draw(path, session.inputs, batch_size, {}, seed=0))
