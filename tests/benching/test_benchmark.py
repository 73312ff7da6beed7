"""bench on real files: what it measures of each, which settings each has, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import edgebn
from edgebn.benching import benchmark
from edgebn.benching.timing import Call, Samples
from edgebn.errors import InputError, UsageError
from edgebn.measurements import Ratio, Run
from edgebn.report import Benchmark
from tests.benching.models import HEAD, RELU, least, save

FILES = {
    "batch": (RELU, [(2, 1), (3, 1)]),
    "fixed": ("g (float[5,4] x) => (float[5,4] y) { y = Relu(x) }", [(5, 1)]),
    "scalar": ("g (float x) => (float y) { y = Relu(x) }", [(1, 1)]),
    "no input": ("g () => (float[2] y) { y = Constant<value_floats = [1.0, 2.0]>() }", [(1, 1)]),
    "integers": ("g (float[batch,4] x, int64[batch] i) => (float[n,4] y) { y = Gather(x, i) }", [(2, 1), (3, 1)]),
    "text": ("g (string[batch] x) => (string[batch] y) { y = Identity(x) }", [(2, 1), (3, 1)]),
    "other extents": ("g (float[batch,3,h,w] x) => (float[batch,3,h,w] y) { y = Relu(x) }", [(2, 1), (3, 1)]),
    "unnamed": ("g (float[?,?] x) => (float[?,?] y) { y = Relu(x) }", [(2, 1), (3, 1)]),
}


def settings(runs: tuple[Run, ...]) -> list[tuple[int, int]]:
    return [(run.batch_size, run.threads) for run in runs]


def no_peak(*_: object) -> None:
    """Instead of a process for each file, where its memory does not matter."""


@pytest.fixture(scope="module")
def all_files(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("files")
    paths = [save(folder / f"{name}.onnx", graph) for name, (graph, _) in FILES.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "peak_bytes", no_peak)
        return least(*paths, batch_sizes=(2, 3))


def test_files_of_all_kinds_side_by_side(all_files: Benchmark) -> None:
    for file, (graph, expected) in zip(all_files.files, FILES.values(), strict=True):
        assert settings(file.runs) == expected, graph
        for run in file.runs:
            assert (run.ratio is None) is ((run.batch_size, run.threads) not in FILES["batch"][1])
            assert 0.0 < run.latency.median <= run.latency.p95 <= run.latency.p99
            assert run.throughput == pytest.approx(run.batch_size / run.latency.median)
            assert run.latency.rounds >= 5
        assert file.creation.median > 0.0
        assert file.onnx_bytes == Path(file.onnx_model).stat().st_size
    first = all_files.files[0]
    for ratio in (first.creation_ratio, *(run.ratio for run in first.runs)):
        assert ratio == Ratio(1.0, 1.0, 1.0)


def test_threads_and_batches_are_measured_each_with_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "peak_bytes", no_peak)
    (file,) = least(save(tmp_path / "model.onnx"), batch_sizes=(1, 4, 1), threads=(1, 2)).files
    assert settings(file.runs) == [(1, 1), (1, 2), (4, 1), (4, 2)]


def count_elements(groups: Sequence[Sequence[Call]], **_: object) -> list[list[Samples]]:
    """A loop by whose clock a call takes as many seconds as its result has elements, and a session one."""
    results = [[call() for call in group] for group in groups]
    sizes = [
        [sum(array.size for array in each) if isinstance(each, list) else 1 for each in group] for group in results
    ]
    return [[Samples((np.array([size]),)) for size in group] for group in sizes]


def test_each_number_is_of_its_file_and_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "interleaved", count_elements)
    monkeypatch.setattr(benchmark, "peak_bytes", no_peak)
    wide, three, narrow = (
        save(tmp_path / f"{name}.onnx", RELU.replace("batch,4", shape))
        for name, shape in (("wide", "batch,8"), ("three", "3,1"), ("narrow", "batch,2"))
    )
    record = least(wide, three, narrow, batch_sizes=(1, 3, 5), threads=(1, 2))
    seconds = {
        (Path(file.onnx_model).stem, run.batch_size, run.threads): (run.latency.median, run.ratio and run.ratio.median)
        for file in record.files
        for run in file.runs
    }
    assert seconds == {
        **{("wide", size, threads): (8.0 * size, 1.0) for size in (1, 3, 5) for threads in (1, 2)},
        **{("three", 3, threads): (3.0, 3.0 / 24.0) for threads in (1, 2)},
        **{("narrow", size, threads): (2.0 * size, 0.25) for size in (1, 3, 5) for threads in (1, 2)},
    }
    assert [file.creation.median for file in record.files] == [1.0, 1.0, 1.0]


def test_the_seed_is_that_of_the_record(tmp_path: Path) -> None:
    record = least(save(tmp_path / "model.onnx"), seed=9, extents={"batch": 3})
    assert (record.seed, record.seconds, record.extents) == (9, 0.0, {"batch": 3})
    assert settings(record.files[0].runs) == [(3, 1)]
    assert record.versions.keys() == {"edgebn", "numpy", "onnxruntime"}
    assert record.machine["cores"] == str(os.cpu_count())
    assert all(record.machine.values())


def large_weights(path: Path, megabytes: int) -> Path:
    """A file whose weights take that much memory."""
    model = parser.parse_model(
        f"{HEAD} g (float[batch,4] x) => (float[batch,4] y, float[n] z) {{ y = Relu(x) z = Relu(w) }}"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(megabytes << 18, np.float32), "w"))
    onnx.save(model, path)
    return path


def test_the_peak_of_one_file_does_not_hide_anothers(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell the peak of a process")
    ballast = np.ones(300 << 18, np.float32)  # a peak of this process of 300 MB
    large, small = large_weights(tmp_path / "large.onnx", 20), save(tmp_path / "small.onnx")
    peaks = {
        Path(file.onnx_model).name: file.runs[0].peak_bytes for file in least(large, small, batch_sizes=(1,)).files
    }
    assert peaks["large.onnx"] is not None
    assert peaks["small.onnx"] is not None
    assert 20e6 < peaks["large.onnx"] < 150e6
    assert peaks["small.onnx"] < 5e6
    assert ballast[0] == 1.0


def test_the_peak_grows_with_the_batch(tmp_path: Path) -> None:
    (file,) = least(save(tmp_path / "model.onnx"), batch_sizes=(1, 1_000_000)).files
    low, high = (run.peak_bytes for run in file.runs)
    if low is None or high is None:
        pytest.skip("this system does not tell the peak of a process")
    assert 16e6 < high - low < 100e6


def with_data_beside(folder: Path, location: str) -> Path:
    model = parser.parse_model(f"{HEAD} g (float[4] x) => (float[4] y) {{ y = Add(x, w) }}")
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    model.graph.initializer.append(weight)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_the_data_beside_a_file_is_a_part_of_its_size(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(np.ones(4, np.float32).tobytes())
    path = with_data_beside(tmp_path, "weights")
    assert least(path).files[0].onnx_bytes == path.stat().st_size + 16


def test_no_path_is_followed_out_of_the_folder_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "inner").mkdir()
    with pytest.raises(InputError, match=r"model\.onnx: "):
        least(with_data_beside(tmp_path / "inner", "../weights"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_sizes": ()}, "batch size : choose from 1 to 1,000,000"),
        ({"batch_sizes": (1, 0)}, "batch size 1, 0: choose"),
        ({"batch_sizes": (2.0,)}, "batch size 2.0: choose"),
        ({"threads": (0,)}, "threads 0: choose from 1 to 1,024"),
        ({"seconds": -1.0}, "-1 seconds: choose"),
        ({"seconds": float("nan")}, "nan seconds: choose"),
        ({"extents": {"width": 3}}, "width: no such extent; the files have batch"),
        ({"output": "x.svg", "plot": "x.svg"}, "x.svg: is read or written twice"),
        ({"plot": "x.png"}, "x.png: the plot is drawn as SVG; call it x.svg"),
        ({"output": "model.onnx"}, "model.onnx: is read or written twice"),
        ({"output": "no/x"}, "no: no such folder"),
    ],
)
def test_a_wrong_call(options: dict[str, object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("model.onnx"))
    with pytest.raises(UsageError, match=reason):
        least(Path("model.onnx"), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_nothing_to_measure() -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        edgebn.bench()


def test_extents_that_do_not_fit_the_file(tmp_path: Path) -> None:
    path = save(
        tmp_path / "model.onnx", "g (float[batch,width] x, float[8,8] k) => (float[batch,8] y) { y = MatMul(x, k) }"
    )
    with pytest.raises(InputError, match=r"can not run it on x \[1, 32\], k \[8, 8\]: .*; --extent sets an extent"):
        least(path)
    assert settings(least(path, extents={"width": 8}, batch_sizes=(1,)).files[0].runs) == [(1, 1)]


def test_neither_tensorflow_nor_keras_is_needed(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx")
    code = (
        "import sys; sys.modules.update(tensorflow=None, keras=None, tf2onnx=None, matplotlib=None)\n"
        f"import edgebn; print(edgebn.bench({str(path)!r}, seconds=0.0).files[0].onnx_model)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{path}\n", "")


def test_what_is_no_onnx_file_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"bad\.onnx: not a model file \(.*\); an ONNX file is expected here$"):
        least(tmp_path / "bad.onnx")
