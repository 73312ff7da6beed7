"""Train, export and verify the models in `models/`, and write their cards and golden vectors.

python tools/build_models.py --data mnist.npz
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import edgebn
from edgebn import backends
from edgebn.datasets import Dataset, load_dataset, scaled
from edgebn.interface import LABELS, PIXEL_FORMAT, PIXEL_RANGE
from edgebn.loading import Source, open_source
from edgebn.report import ExportReport, TrainingRecord, Verdict
from edgebn.training.architectures import ARCHITECTURES
from edgebn.verifying.probes import DATA
from edgebn.verifying.reference import float64_truth

MODELS = Path(__file__).parents[1] / "models"
CARD = """# {name}

{description}

| | |
|---|---|
| test accuracy | {accuracy:.2%} of MNIST's 10,000 test digits |
| ONNX against Keras, on them | max abs difference of the probabilities {max_abs:.1e}, {changed} changed labels |
| of each from the model in float64 | ONNX {onnx_error:.1e}, Keras {keras_error:.1e} |
| operators | {operators} |
| input | `{input_name}`, float32 {input_shape}: grey values divided by 255, white digit on black |
| output | `{output_name}`, float32 {output_shape}: a probability for each digit |
| metadata | class names {labels}; pixels {pixel_format}, {pixel_range} |
| size | {name}.onnx {onnx_bytes:,} bytes |
| latency | {latency:.0f} µs, one image, onnxruntime on one thread of the machine that made this card |
| SHA-256 of {name}.onnx | `{onnx_sha256}` |
| SHA-256 of {name}.keras | `{keras_sha256}` |

Made by `python tools/build_models.py --data mnist.npz --seed {seed}`: trained on MNIST's 60,000 training digits
(content SHA-256 `{data_sha256}`), {epochs} epochs, batch size {batch_size}, seed {seed},
with edgebn {edgebn}, Keras {keras} and TensorFlow {tensorflow}. `{name}.training.json` is the full record.

`test_data_set_0` holds ten test digits, one of each class, and the probabilities that the model gives in float64,
rounded to float32 once: a runtime that computes in float32 should come within 1e-5 of them.

The weights are derived from MNIST (CC BY-SA 3.0, Yann LeCun and Corinna Cortes).
"""


def main() -> None:
    """Build both models anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist", help="MNIST as .npz in the layout of keras.datasets")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in ARCHITECTURES:
        folder = MODELS / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        keras_path, onnx_path = folder / f"{name}.keras", folder / f"{name}.onnx"
        record = edgebn.train(name, keras_path, data=arguments.data, seed=arguments.seed)
        report = edgebn.fold_export(keras_path, onnx_path)
        verdict = edgebn.verify(keras_path, onnx_path, data=arguments.data)
        if not verdict.passed:
            raise SystemExit(f"{name}: the ONNX file differs from the Keras model")
        source = open_source(keras_path)
        write_golden_vectors(source, load_dataset(arguments.data), folder / "test_data_set_0")
        (folder / "README.md").write_text(card(record, report, verdict, latency(onnx_path, source)), "utf-8")
        print(f"{folder.name}: accuracy {record.test_accuracy:.2%}, difference {on_digits(verdict, 'difference'):.1e}")


def card(record: TrainingRecord, report: ExportReport, verdict: Verdict, microseconds: float) -> str:
    """The model's README."""
    name = record.architecture
    said = {entry.key: entry.value for entry in onnx.load(report.onnx_model).metadata_props}
    (input_name, input_shape), (output_name, output_shape) = *report.inputs.items(), *report.outputs.items()
    return CARD.format(
        name=name,
        description=" ".join((ARCHITECTURES[name].build.__doc__ or "").split()),
        accuracy=record.test_accuracy,
        max_abs=on_digits(verdict, "difference"),
        onnx_error=on_digits(verdict, "error"),
        keras_error=on_digits(verdict, "reference_error"),
        changed=verdict.changed_labels,
        operators=" → ".join(report.nodes),
        input_name=input_name,
        input_shape=shape_text(input_shape),
        output_name=output_name,
        output_shape=shape_text(output_shape),
        labels=", ".join(json.loads(said[LABELS])),
        pixel_format=said[PIXEL_FORMAT],
        pixel_range=said[PIXEL_RANGE],
        onnx_bytes=report.onnx_bytes,
        latency=microseconds,
        onnx_sha256=report.onnx_sha256,
        keras_sha256=record.model_sha256,
        data_sha256=record.data_sha256,
        epochs=record.epochs,
        batch_size=record.batch_size,
        seed=record.seed,
        **{package: record.versions[package] for package in ("edgebn", "keras", "tensorflow")},
    )


def shape_text(shape: tuple[int | str, ...]) -> str:
    """`[batch, 784]`."""
    return f"[{', '.join(map(str, shape))}]"


def on_digits(verdict: Verdict, field: str) -> float:
    """The largest of one distance of the comparisons on digits."""
    return max(getattr(each, field).max_abs for each in verdict.comparisons if each.probe == DATA)


def write_golden_vectors(source: Source, dataset: Dataset, folder: Path) -> None:
    """Write one digit of each class and what the model in float64 makes of it, as the ONNX backend tests have them."""
    truth = float64_truth(source)
    if truth is None:
        raise SystemExit(f"{source.name}: can not be evaluated in float64")
    first = [int(np.flatnonzero(dataset.y_test == digit)[0]) for digit in range(10)]
    images = scaled(dataset.x_test[first]).reshape(-1, *(extent or 1 for extent in source.inputs[0].shape[1:]))
    folder.mkdir()
    write_tensor(folder / "input_0.pb", source.inputs[0].name, images)
    write_tensor(folder / "output_0.pb", source.outputs[0].name, truth.run((images,))[0].astype(np.float32))


def write_tensor(path: Path, name: str, array: NDArray[Any]) -> None:
    """Write an array as a serialized TensorProto."""
    path.write_bytes(numpy_helper.from_array(array, name).SerializeToString(deterministic=True))


def latency(path: Path, source: Source) -> float:
    """Median microseconds for one sample in onnxruntime on one thread."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {source.inputs[0].name: np.zeros([extent or 1 for extent in source.inputs[0].shape], np.float32)}
    seconds = []
    for _ in range(2000):
        started = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e6


if __name__ == "__main__":
    main()
