"""What takes more memory than there is ends in an error, and not in the end of another's program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgebn.benching import benchmark, memory
from edgebn.errors import InputError, UsageError
from tests.benching.models import RELU, least, save

pytestmark = pytest.mark.skipif(memory.available_bytes() is None, reason="this system does not tell what is free")

HUGE = """g (float[batch,4] x) => (float[batch,n] y) {
    s = ReduceSum(x)
    n = Constant<value_ints = [1, 70000000000000]>()
    y = Expand(s, n)
}"""


def test_what_onnxruntime_can_not_allocate_is_refused_by_the_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "huge.onnx", HUGE)
    with pytest.raises(InputError, match=r"run it on x \[1, 4\]: it takes more memory than is free; --extent"):
        least(path, batch_sizes=(1,))


def test_a_process_takes_no_more_than_is_free() -> None:
    code = (
        "import numpy as np\n"
        "from edgebn.benching import memory\n"
        "memory._take_no_more_than_there_is(1)\n"
        "np.empty(1 << 20, np.uint8)\n"
        "try:\n"
        "    np.empty(memory.available_bytes() + (1 << 30), np.uint8)\n"  # is not touched, and so takes nothing
        "except MemoryError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("refused\n", "")


@pytest.mark.parametrize(
    ("child", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "batch 3 takes more memory than is free"),
        ("import sys, json; open(sys.argv[2], 'w').write(json.dumps('model.onnx: bad'))", "model.onnx: bad"),
    ],
)
def test_what_became_of_the_process(child: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CHILD", child)
    with pytest.raises(InputError, match=message):
        memory.peak_bytes(save(tmp_path / "model.onnx"), 3, 1, {}, 0)


def test_inputs_that_can_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    def then_fail(_: int) -> None:
        monkeypatch.setattr(memory, "_run", fail)

    monkeypatch.setattr(memory, "_take_no_more_than_there_is", then_fail)
    path = save(tmp_path / "model.onnx")
    assert memory._measured(path, 9, 1, {}, 0, tmp_path / "peak") == memory._too_large(path, 9)


def test_all_files_must_fit_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "available_bytes", lambda: 100 << 20)
    monkeypatch.setattr(benchmark, "peak_bytes", lambda *call: call[1] << 20)
    first, second = (save(tmp_path / f"{name}.onnx", RELU) for name in ("first", "second"))
    least(first, second, batch_sizes=(1, 40, 50))  # a session keeps what its largest batch took, and no more
    with pytest.raises(UsageError, match="take 120 MiB of memory, and 100 MiB are free; choose fewer files"):
        least(first, second, batch_sizes=(60,))
    with pytest.raises(UsageError, match="take 200 MiB"):
        least(first, second, batch_sizes=(50,), threads=(1, 2))


def test_inputs_that_are_too_large_are_a_wrong_call(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", RELU.replace("4]", "4000]"))
    with pytest.raises(UsageError, match=r"inputs of \[\(1000000, 4000\)\] take too much memory; choose smaller"):
        least(path, batch_sizes=(1_000_000,))
