"""From the ONNX file to a running app: one folder with all that it needs, a README and a self-test."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgebn.embedding.application import open_application
from edgebn.embedding.folder import write_folder
from edgebn.embedding.targets import TARGETS
from edgebn.errors import UsageError
from edgebn.loading import kind_of
from edgebn.report import Embedding


def embed(model_path: str | Path, target: str, out_path: str | Path, *, force: bool = False) -> Embedding:
    """Write a small, complete app or library that runs an ONNX model, with golden vectors as its self-test.

    The golden vectors are those in the folders `test_data_set_0`, `test_data_set_1` … beside the model, as the ONNX
    backend tests have them; without any, what onnxruntime makes of noise. The same file gives the same bytes.

    Args:
        model_path: an `.onnx` file whose inputs and outputs are float32 and of known extents, but for the batch.
        target: `c`, `wasm`, `web`, `c-ort`, `python` or `node`.
        out_path: the folder to write; it is made if it does not exist.
        force: overwrite files that edgebn did not write, or that were changed since.

    Raises:
        UsageError: if there is no model, no such target, or a file in the way.
        InputError: if the model can not be opened, or the target has no code for it.
        ConversionError: if golden vectors must be made and onnxruntime can not run the model.
        OutputError: if writing fails; then nothing is changed.
    """
    path, folder = Path(model_path), Path(out_path)
    if target not in TARGETS:
        raise UsageError(f"target {target}: choose one of {', '.join(TARGETS)}")
    if kind_of(path) != "onnx":
        raise UsageError(f"{path}: is no ONNX file; make one of it with edgebn fold-export")
    app = open_application(path)
    files = TARGETS[target](app)
    write_folder(folder, target, app.sha256, files, force=force)
    return Embedding(
        onnx_model=str(path),
        onnx_sha256=app.sha256,
        target=target,
        folder=str(folder),
        files={name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
        total_bytes=sum(map(len, files.values())),
        golden_samples=app.golden.samples,
        golden_origin=app.golden.origin,
    )
