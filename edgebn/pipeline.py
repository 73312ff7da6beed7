"""fold_export: open → fold → tidy → check → write; and inspect, which only plans."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnx_ir as ir

from edgebn import backends, files
from edgebn.errors import ConversionError, UsageError
from edgebn.exporting import name_outputs
from edgebn.folding import Plan, Preference, apply, plan
from edgebn.graphs import Graph, open_graph
from edgebn.interface import NOTHING, Interface
from edgebn.loading.overwriting import check_distinct
from edgebn.proving import Suspect, certified
from edgebn.proving import certificate as certificate_content
from edgebn.quantizing.lowering import FLOAT32, check_precision, lowered
from edgebn.report import ExportReport, Folded, Inspection, Kept
from edgebn.tidying import forget_shapes, tidy
from edgebn.tuning import tuned
from edgebn.verifying.golden import check_golden, check_not_of_another
from edgebn.version import __version__

_Kind = TypeVar("_Kind", Folded, Kept)


def fold_export(
    model_or_path: Any,
    out_path: str | Path,
    *,
    opset: int | None = None,
    report: str | Path | None = None,
    trust: bool = False,
    verify: bool = True,
    golden: int = 0,
    certificate: str | Path | None = None,
    tune: bool = False,
    precision: str = "fp32",
    data: str | Path | None = None,
    interface: Interface = NOTHING,
) -> ExportReport:
    """Fold every BatchNormalization that mathematics allows into its neighbours, and write the model as ONNX.

    The file has the model's inputs and outputs in Keras's layout and order, with a symbolic `batch` axis. It is written
    only after onnx's full check has passed, onnxruntime has loaded it, and it gives what the model gives on a few
    random samples, as `edgebn.verify` would judge it; the same model gives the same bytes.

    Args:
        model_or_path: a `keras.Model`, a `.keras` or `.h5` file, a SavedModel folder, or an `.onnx` file, whose inputs
            and outputs stay as they are.
        out_path: where to write the ONNX file.
        opset: version of the ONNX operator set, 13 to 18; by default 18, and an ONNX file keeps its own.
        report: where to write the returned report as JSON as well, if anywhere.
        trust: allow layers that run code which the model file brings along (Lambda).
        verify: compare with the model on a few random samples before anything is written.
        golden: how many golden data sets to write beside the file, as `test_data_set_0/input_0.pb, output_0.pb`….
        certificate: where to write a certificate, for which everything is compared that `edgebn.verify` compares; a
            summary of it, and its name, go into the file's metadata.
        tune: time the plans that differ in speed in onnxruntime on this machine, and take the fastest.
        precision: "fp32"; "fp16" for weights in half the bytes; or "int8" for 8 bits. What is compared with the model
            is the float32 file, and the returned report says how far the file is from that.
        data: for int8, to calibrate on, and for both, to compare on: digits, by name, or an .npz file, as for `verify`.
        interface: what the file is to take and to give: raw pixels, a layout, scores or a class; by default what the
            model does. It is checked as everything else is, and written into the file's metadata.

    Raises:
        UsageError: if there is nothing to read at the path, no way to write to `out_path`, no such opset, no data for
            int8, a certificate of what is not verified, or the interface does not fit the model.
        InputError: if the model can not be opened.
        ConversionError: if the model has no ONNX form, onnx or onnxruntime rejects the result, or it computes something
            else than the model; the message says from which layer or fold on.
        OutputError: if writing fails; a file that was there before stays as it was.
    """
    out_path, report_path = Path(out_path), None if report is None else Path(report)
    certificate_path = None if certificate is None else Path(certificate)
    for path in (out_path, report_path, certificate_path):
        if path is not None:
            files.check_writable(path)
    if certificate_path is not None and not verify:
        raise UsageError(f"{certificate_path}: a certificate says what was verified; leave --no-verify out")
    check_precision(precision, data, golden=golden, certificate=certificate)
    check_golden(out_path.parent, golden)
    check_not_of_another(out_path, golden)
    graph = open_graph(model_or_path, opset=opset, trust=trust, interface=interface)
    check_distinct([model_or_path], [out_path, report_path, certificate_path], data)
    preference, tuning = tuned(lambda each: _folded(graph, each)[1]) if tune else (Preference.USUAL, None)
    planned, folded = _folded(graph, preference)
    _describe(folded, graph, planned)
    proto = _lean(ir.to_proto(folded))
    if proto.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        raise ConversionError(f"{graph.name}: larger than 2 GB, the most that one ONNX file can hold; nothing written")
    content = proto.SerializeToString(deterministic=True)
    _check(proto, content, graph.name)
    suspect = Suspect(graph, model_or_path, content, folded, preference)
    extras: dict[Path, bytes] = {}
    notes = suspect.check() if verify and certificate_path is None else ()
    vectors = suspect.golden_vectors(golden) if golden else {}
    if certificate_path is not None:
        verdict = suspect.verdict(out_path.name)
        content = certified(proto, verdict, certificate_path.name)
        extras[certificate_path] = certificate_content(verdict, hashlib.sha256(content).hexdigest(), vectors)
    cost = None
    if precision != FLOAT32:
        content, folded, cost = lowered(graph.name, content, folded, precision, data)
        _check(onnx.load_from_string(content), content, graph.name)
    result = replace(_report(graph, out_path, content, folded, planned, notes), tuning=tuning, precision=cost)
    if report_path is not None:
        extras[report_path] = result.to_json().encode()
    _write({out_path: content, **{out_path.parent / path: each for path, each in vectors.items()}, **extras})
    return result


def inspect(model_or_path: Any, *, opset: int | None = None, trust: bool = False) -> Inspection:
    """Say what `fold_export` would do with every BatchNormalization and other affine, and why. Nothing is written.

    Args and errors: as for `fold_export`.
    """
    graph = open_graph(model_or_path, opset=opset, trust=trust)
    planned, folded = _folded(graph)
    return Inspection(
        source=graph.name,
        source_sha256=graph.sha256,
        opset=folded.opset_imports[""],
        nodes_before=len(graph.model.graph),
        nodes_after=len(folded.graph),
        folded=_only(Folded, planned),
        kept=_only(Kept, planned),
        notes=graph.notes,
    )


def _folded(graph: Graph, preference: Preference = Preference.USUAL) -> tuple[Plan, ir.Model]:
    planned = plan(graph.view, preference=preference)
    folded = apply(planned, graph.model)
    tidy(folded)
    if graph.source is not None:
        name_outputs(folded.graph, graph.outputs)  # clean-up may have joined two outputs, or left one another's shape
    forget_shapes(folded.graph)
    return planned, folded


def _lean(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the shapes of constants, which onnx-ir writes a second time."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    stated = [value for value in proto.graph.value_info if value.name not in constants]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(stated)
    return proto


def _only(kind: type[_Kind], planned: Plan) -> tuple[_Kind, ...]:
    return tuple(fate for fate in planned.fates if isinstance(fate, kind))


def _describe(model: ir.Model, graph: Graph, planned: Plan) -> None:
    """Write into the model who made it, from what, and what was folded."""
    if graph.source is not None:  # what tf2onnx says of itself; an ONNX file keeps what its author says of it
        model.graph.name = Path(graph.name).stem
        model.doc_string = model.graph.doc_string = None
        model.metadata_props.clear()
    model.producer_name, model.producer_version = "edgebn", __version__
    named = {
        kind: [name for fate in planned.fates if isinstance(fate, kind) for name in fate.layers or (fate.node,)]
        for kind in (Folded, Kept)
    }
    model.metadata_props.update(
        {
            "edgebn.version": __version__,
            "edgebn.source": graph.name,
            "edgebn.source_sha256": graph.sha256,
            "edgebn.folded": json.dumps(named[Folded]),
            "edgebn.kept": json.dumps(named[Kept]),
            **graph.metadata,
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


def _write(contents: dict[Path, bytes]) -> None:
    """Write all or nothing; the folders of golden vectors are made."""
    with contextlib.ExitStack() as stack:
        for folder in dict.fromkeys(path.parent for path in contents):
            stack.enter_context(files.folder_made(folder))
        files.write_all(contents)


def _report(
    graph: Graph, out_path: Path, content: bytes, model: ir.Model, planned: Plan, notes: tuple[str, ...]
) -> ExportReport:
    return ExportReport(
        source=graph.name,
        source_sha256=graph.sha256,
        onnx_model=str(out_path),
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        onnx_bytes=len(content),
        opset=model.opset_imports[""],
        inputs={value.name or "": _extents(value) for value in model.graph.inputs},
        outputs={value.name or "": _extents(value) for value in model.graph.outputs},
        nodes=tuple(node.op_type for node in model.graph),
        nodes_before=len(graph.model.graph),
        folded=_only(Folded, planned),
        kept=_only(Kept, planned),
        notes=(*graph.notes, *notes),
        versions={package: metadata.version(package) for package in graph.packages},
    )


def _extents(value: ir.Value) -> tuple[int | str, ...]:
    return tuple(extent if isinstance(extent, int) else extent.value or "?" for extent in value.shape or ())
