"""What fold-export costs, in time and memory, by the bare conversion of the same model by tf2onnx.

python tools/bench_export.py [--model DenseNet121] [--size 224] [--rounds 5] [--cpu-time]

Each run has a process of its own, in which everything is imported and the model is built before the clock starts; the
kinds of run take turns, in an order that is shuffled anew each round. Memory is the peak of what the process holds
above what it held then. Ratios are of the runs of one round: their median, lowest and highest.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx

import edgebn
from edgebn import backends
from tests.model_set import APPLICATIONS, lively

STATUS = Path("/proc/self/status")


def conversion(model: Any, path: Path) -> None:
    """What tf2onnx makes of the model, saved."""
    import tf2onnx

    tensorflow = backends.tensorflow()
    signature = [tensorflow.TensorSpec(each.shape, each.dtype, name=f"x{i}") for i, each in enumerate(model.inputs)]
    function = tensorflow.function(lambda *inputs: model(*inputs, training=False))
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=18)
    onnx.save(proto, path)


def unverified(model: Any, path: Path) -> None:
    """fold-export --no-verify."""
    edgebn.fold_export(model, path, verify=False)


def verified(model: Any, path: Path) -> None:
    """fold-export."""
    edgebn.fold_export(model, path)


RUNS: Mapping[str, Callable[[Any, Path], None]] = {
    "tf2onnx alone": conversion,
    "fold-export --no-verify": unverified,
    "fold-export": verified,
}
ALONE, *OURS = RUNS
MOST_TIME = {"fold-export --no-verify": 1.25, "fold-export": 2.0}
MOST_MEMORY = 1.5


@dataclass(frozen=True)
class Run:
    """Of one process: seconds by the clock, of the processor, and bytes."""

    seconds: float
    cpu_seconds: float
    peak: int


def run(kind: str, model: str, size: int) -> Run:
    """What the child does."""
    keras = backends.keras()
    backends.tensorflow()
    backends.onnxruntime()
    with backends.silenced():
        import tf2onnx  # noqa: F401
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    keras.utils.set_random_seed(0)
    built = lively(getattr(keras.applications, model)(weights=None, input_shape=(size, size, 3)))
    with tempfile.TemporaryDirectory() as folder:
        Path("/proc/self/clear_refs").write_text("5")  # start a new high-water mark
        before = resident("VmRSS")
        started, cpu_started = time.perf_counter(), time.process_time()
        RUNS[kind](built, Path(folder, "model.onnx"))
        taken = time.perf_counter() - started, time.process_time() - cpu_started
    return Run(*taken, resident("VmHWM") - before)


def resident(field: str) -> int:
    """Bytes that this process holds (VmRSS), or has held at most (VmHWM)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) << 10


def in_child(kind: str, model: str, size: int) -> Run:
    """Run it in a process of its own."""
    command = [sys.executable, __file__, "--child", kind, "--model", model, "--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr.strip().splitlines()[-1]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def spread(values: list[float]) -> str:
    """`0.93 (0.91…0.95)`."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}…{max(values):.2f})"


def main() -> None:
    """Print the ratios, and fail if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="DenseNet121", choices=tuple(APPLICATIONS))
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time, for a machine that others use too")
    parser.add_argument("--child", choices=tuple(RUNS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(asdict(run(given.child, given.model, given.size))))
        return
    order = random.Random(0)
    rounds: list[dict[str, Run]] = []
    for _ in range(given.rounds):
        kinds = order.sample(list(RUNS), len(RUNS))
        rounds.append({kind: in_child(kind, given.model, given.size) for kind in kinds})
    clock = "cpu_seconds" if given.cpu_time else "seconds"
    typical = statistics.median(getattr(each[ALONE], clock) for each in rounds)
    memory = statistics.median(each[ALONE].peak for each in rounds)
    print(f"{given.model} at {given.size} × {given.size}: {ALONE}: {typical:.1f} s, {memory / 1e6:,.0f} MB")
    too_much = False
    for kind in OURS:
        times = [getattr(each[kind], clock) / getattr(each[ALONE], clock) for each in rounds]
        peaks = [each[kind].peak / each[ALONE].peak for each in rounds]
        print(f"{kind}: time {spread(times)}, of at most {MOST_TIME[kind]}; memory {spread(peaks)}, of {MOST_MEMORY}")
        too_much |= statistics.median(times) > MOST_TIME[kind] or statistics.median(peaks) > MOST_MEMORY
    if too_much:
        raise SystemExit("too much")


if __name__ == "__main__":
    main()
