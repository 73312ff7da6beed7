"""Opening ONNX files that nobody vouches for. Nothing here imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner, version_converter
from onnx_ir.passes import common

from edgebn.errors import InputError
from edgebn.loading.formats import kind_of

MAX_BYTES = 8 << 30
"""The largest model that is opened: the file and all that it refers to, 8 GiB."""

_FIRST_WITH_COORDINATES = 11
OLDEST_OPSET = 13
"""Older files are converted to it: from here on the axes of an operator may be inputs."""


def open_onnx(path: Path) -> ir.Model:
    """The model in an ONNX file, with the data that lies beside it, functions inlined and opset at least 13.

    An initializer that is also an input, as old files have it, keeps its value and is no input any more, unless the
    file is of a version (IR 4) from which that says that the caller may replace it.

    Raises:
        InputError: if the file is damaged, too large, of a future version, or refers to a file outside of its folder.
    """
    model = _read(path)
    if model.graph.sparse_initializer:
        raise InputError(
            f"{path}: has sparse initializers, which are not supported; write the weights as dense tensors"
        )
    for each in (*model.opset_import, *model.graph.node):
        if each.domain == "ai.onnx":  # another name for the same
            each.domain = ""
    _load_external_data(path, model)
    try:
        onnx.checker.check_model(model)
        if len(model.functions):
            model = inliner.inline_local_functions(model)
        opset = next((each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}), None)
        if opset is None:
            raise InputError(f"{path}: uses no operators of ONNX itself; there is nothing to fold")
        if opset < OLDEST_OPSET:
            model = _at_oldest_opset(model, opset, path)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: is not a valid ONNX model: {_one_line(error)}") from error
    opened = ir.from_proto(model)
    if model.ir_version < 4:
        common.RemoveInitializersFromInputsPass()(opened)
        opened.ir_version = 4
    return opened


def parts_of(path: Path) -> frozenset[Path]:
    """The folder that a model is, or the files beside an ONNX model that hold its data, resolved."""
    if path.is_dir():
        return frozenset({path.resolve()})
    if kind_of(path) != "onnx":
        return frozenset()
    external = (each for each in _tensors(_read(path)) if external_data_helper.uses_external_data(each))
    entries = (entry for tensor in external for entry in tensor.external_data if entry.key == "location")
    return frozenset((path.parent / entry.value).resolve() for entry in entries)


def _read(path: Path) -> onnx.ModelProto:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 30} GiB; such models are not supported")
        return onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: can not be read ({error.strerror or error})") from error
    except DecodeError as error:
        raise InputError(f"{path}: a truncated or damaged ONNX file; save or copy it again") from error


def _load_external_data(path: Path, model: onnx.ModelProto) -> None:
    """Load what lies in other files, all of them inside of the model's folder."""
    folder = path.parent.resolve()
    total = 0
    for tensor in _tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        name = PurePosixPath(location)
        file = (folder / location).resolve()
        if not location or name.is_absolute() or ".." in name.parts or not file.is_relative_to(folder):
            raise InputError(f"{path}: the data of {tensor.name} lie at {location!r}, outside of its folder; refused")
        if not file.is_file():
            raise InputError(f"{path}: needs {location}, which is not beside it; copy both")
        length = {entry.key: entry.value for entry in tensor.external_data}.get("length", "")
        total += int(length) if length.isdigit() else file.stat().st_size
        if total > MAX_BYTES:
            raise InputError(f"{path}: refers to more than {MAX_BYTES >> 30} GiB; such models are not supported")
        try:
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise InputError(f"{path}: {location} is damaged ({_one_line(error)}); copy it again") from error


def _at_oldest_opset(model: onnx.ModelProto, opset: int, path: Path) -> onnx.ModelProto:
    """The model at opset 13, with the old meanings that onnx's converter loses: how a Resize finds its coordinates."""
    if any(node.op_type == "Hardmax" for node in model.graph.node):
        raise InputError(f"{path}: Hardmax of opset {opset} is not supported; write the model at opset 13 or later")
    converted = version_converter.convert_version(model, OLDEST_OPSET)
    constants = {tensor.name: tensor for tensor in converted.graph.initializer}
    for node in converted.graph.node if opset < _FIRST_WITH_COORDINATES else ():
        if node.op_type == "Resize":
            factors = onnx.numpy_helper.to_array(constants[node.input[2]]) if node.input[2] in constants else ()
            shrinks = any(factor < 1.0 for factor in factors)
            rules = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil" if shrinks else "floor"}
            kept = [attribute for attribute in node.attribute if attribute.name not in rules]
            del node.attribute[:]
            node.attribute.extend([*kept, *(onnx.helper.make_attribute(*rule) for rule in rules.items())])
    return converted


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model, those in attributes and in the bodies of If, Loop and Scan included."""
    pending: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            pending.extend(attribute.graphs)
            if attribute.HasField("g"):
                pending.append(attribute.g)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
