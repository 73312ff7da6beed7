"""fold_export: export → fold → tidy → check → write."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from edgebn import backends, files
from edgebn.errors import ConversionError, UsageError
from edgebn.exporting import OPSETS, export
from edgebn.folding import Plan, View, apply, plan
from edgebn.loading import Source, open_source
from edgebn.report import ExportReport, Folded, Kept
from edgebn.tidying import tidy
from edgebn.version import __version__

DEFAULT_OPSET = 18
_PACKAGES = ("edgebn", "keras", "numpy", "onnx", "onnx-ir", "onnxruntime", "tensorflow", "tf2onnx")


def fold_export(
    model_or_path: Any,
    out_path: str | Path,
    *,
    opset: int = DEFAULT_OPSET,
    report: str | Path | None = None,
    trust: bool = False,
) -> ExportReport:
    """Fold every BatchNormalization that mathematics allows into its neighbours, and write the model as ONNX.

    The file has the model's inputs and outputs in Keras's layout and order, with a symbolic `batch` axis. It is written
    only after onnx's full check has passed and onnxruntime has loaded it; the same model gives the same bytes.

    Args:
        model_or_path: a `keras.Model`, a `.keras` or `.h5` file, or a SavedModel folder.
        out_path: where to write the ONNX file.
        opset: version of the ONNX operator set, 13 to 18.
        report: where to write the returned report as JSON as well, if anywhere.
        trust: allow layers that run code which the model file brings along (Lambda).

    Raises:
        UsageError: if there is nothing to read at the path, no way to write to `out_path`, or no such opset.
        InputError: if the model can not be opened.
        ConversionError: if the model has no ONNX form, or onnx or onnxruntime rejects the result.
        OutputError: if writing fails; a file that was there before stays as it was.
    """
    out_path, report_path = Path(out_path), None if report is None else Path(report)
    if opset not in OPSETS:
        raise UsageError(f"opset {opset}: choose one from {OPSETS[0]} to {OPSETS[-1]}")
    for path in (out_path, report_path):
        if path is not None:
            files.check_writable(path)
    _check_distinct(model_or_path, out_path, report_path)
    source = open_source(model_or_path, trust=trust)
    exported = export(source, opset)
    planned = plan(View(exported.model.graph, exported.layer_constants))
    folded = apply(planned, exported.model)
    tidy(folded)
    _describe(folded, source, planned)
    proto = ir.to_proto(folded)
    content = proto.SerializeToString(deterministic=True)
    _check(proto, content, source.name)
    files.write_bytes(out_path, content)
    result = _report(source, out_path, folded, planned, len(exported.model.graph))
    if report_path is not None:
        files.write_bytes(report_path, result.to_json().encode())
    return result


def _check_distinct(model_or_path: Any, *outputs: Path | None) -> None:
    """Refuse to write over the model, or one result over the other."""
    given = [Path(model_or_path)] if isinstance(model_or_path, str | Path) else []
    paths = [path.resolve() for path in (*given, *outputs) if path is not None]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise UsageError(f"{path.name}: is read or written twice by this command; choose another output")


def _describe(model: ir.Model, source: Source, planned: Plan) -> None:
    """Write into the model who made it, from what, and what was folded."""
    model.producer_name, model.producer_version = "edgebn", __version__
    model.graph.name = Path(source.name).stem
    model.doc_string = model.graph.doc_string = None
    model.metadata_props.clear()
    layers = {
        kind.__name__: [layer for fate in planned.fates if isinstance(fate, kind) for layer in fate.layers]
        for kind in (Folded, Kept)
    }
    model.metadata_props.update(
        {
            "edgebn.version": __version__,
            "edgebn.source": source.name,
            "edgebn.source_sha256": source.sha256,
            "edgebn.folded": json.dumps(layers["Folded"]),
            "edgebn.kept": json.dumps(layers["Kept"]),
        }
    )


def _check(proto: onnx.ModelProto, content: bytes, name: str) -> None:
    """Raise ConversionError unless onnx finds the model valid and onnxruntime loads it."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{name}: onnx.checker rejects the converted model; nothing written: {error}") from error
    onnxruntime = backends.onnxruntime()
    try:
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except backends.onnxruntime_errors() as error:
        raise ConversionError(f"{name}: onnxruntime rejects the converted model; nothing written: {error}") from error


def _report(source: Source, out_path: Path, model: ir.Model, planned: Plan, nodes_before: int) -> ExportReport:
    return ExportReport(
        source=source.name,
        source_sha256=source.sha256,
        onnx_model=str(out_path),
        onnx_sha256=files.sha256(out_path),
        onnx_bytes=out_path.stat().st_size,
        opset=model.opset_imports[""],
        inputs={value.name or "": _extents(value) for value in model.graph.inputs},
        outputs={value.name or "": _extents(value) for value in model.graph.outputs},
        nodes=tuple(node.op_type for node in model.graph),
        nodes_before=nodes_before,
        folded=tuple(fate for fate in planned.fates if isinstance(fate, Folded)),
        kept=tuple(fate for fate in planned.fates if isinstance(fate, Kept)),
        versions={package: metadata.version(package) for package in _PACKAGES},
    )


def _extents(value: ir.Value) -> tuple[int | str, ...]:
    return tuple(extent if isinstance(extent, int) else extent.value or "?" for extent in value.shape or ())
