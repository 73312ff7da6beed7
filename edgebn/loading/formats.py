"""What a model file is, told by its content, and whether it is safe to open. Nothing is loaded here."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgebn import files
from edgebn.errors import InputError, UsageError

Kind = Literal["keras", "h5", "saved_model", "onnx"]

MAX_CONFIG_BYTES = 64 << 20
MAX_WEIGHT_BYTES = 8 << 30

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ENCRYPTED = 0x1
_KERAS_ENTRIES = frozenset({"config.json", "metadata.json", "model.weights.h5"})
_IR_VERSION_TAG = 0x08  # field 1, a varint: every ONNX file begins with its IR version
_HIGHEST_IR_VERSION = 32
_RUNS_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_TOUCHES_FILES = frozenset(
    {"EagerPyFunc", "ImmutableConst", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2", "MatchingFiles"}
    | {"PyFunc", "PyFuncStateless", "ReadFile", "WriteFile"}
)
_WANTED = "edgebn reads .keras, .h5, SavedModel folders and .onnx"
ONNX_WANTED = "an ONNX file is expected here"


def kind_of(path: Path, wanted: str = _WANTED) -> Kind:
    """The format of the file or folder at `path`, by its content, whatever it is called.

    `wanted` says, in errors, what would be right.

    Raises:
        UsageError: if there is nothing at `path`.
        InputError: if it can not be read or is not a model in one of the four formats; the message says what it is.
    """
    if files.is_file(path / "saved_model.pb"):
        return "saved_model"
    if not files.is_file(path):
        raise _not_a_file(path, wanted)
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"{path}: can not be read ({error.strerror or error}); check its permissions") from error
    if head.startswith(b"PK"):
        _check_keras_zip(path)
        return "keras"
    if head.startswith(_HDF5):
        return "h5"
    if len(head) > 2 and head[0] == _IR_VERSION_TAG and 0 < head[1] <= _HIGHEST_IR_VERSION:
        return "onnx"
    raise InputError(f"{path}: {_foreign(head)}; {wanted}")


def check_safe(path: Path, kind: Kind) -> None:
    """Refuse a model that would run code or reach other files when opened.

    Raises:
        InputError: naming the layer or operator, and `--trust`, by which the user takes responsibility.
    """
    if kind == "keras":
        _check_config(path, _keras_config(path))
    elif kind == "h5":
        _check_config(path, h5_config(path))
    elif kind == "saved_model":
        _check_saved_model(path)


def _not_a_file(path: Path, wanted: str) -> UsageError | InputError:
    try:
        if path.is_dir():
            return InputError(f"{path}: a folder without saved_model.pb is not a SavedModel; {wanted}")
        if path.exists():  # a pipe or a device, which may never end
            return InputError(f"{path}: not a regular file; {wanted}")
    except OSError as error:
        return UsageError(f"{path}: can not be looked up ({error.strerror}); check the path")
    return UsageError(f"{path}: no such file or folder; check the path")


def _foreign(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head[0] == 0x80 and len(head) > 1 and head[1] in range(2, 6):
        return "a Python pickle, which can run any code when opened, and which edgebn never opens"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite file, from which the Keras model can not be recovered"
    return "not a model file (damaged, encrypted or of another kind)"


def _check_keras_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except files.DAMAGED_ZIP as error:
        raise InputError(f"{path}: a truncated or damaged .keras file ({error}); save or copy it again") from error
    names = {entry.filename for entry in entries}
    if missing := _KERAS_ENTRIES - names:
        raise InputError(f"{path}: a zip file without {', '.join(sorted(missing))} is not a .keras file; {_WANTED}")
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            raise InputError(f"{path}: {entry.filename} is encrypted; decrypt the file first")
        if entry.filename.startswith("/") or ".." in Path(entry.filename).parts:
            raise InputError(f"{path}: {entry.filename!r} leads out of the archive; save the model again")
    if sum(entry.file_size for entry in entries) > MAX_WEIGHT_BYTES:
        raise InputError(f"{path}: unpacks to more than {MAX_WEIGHT_BYTES >> 30} GiB; such models are not supported")


def _keras_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as stream:
            return _parsed(path, stream.read(MAX_CONFIG_BYTES + 1))
    except files.DAMAGED_ZIP as error:
        raise InputError(f"{path}: a damaged .keras file ({error}); save or copy it again") from error


def h5_config(path: Path) -> Any:
    """The configuration of the model in an HDF5 file, as parsed JSON. Raises InputError if there is none."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            _check_links(path, file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: a truncated or damaged HDF5 file ({error}); save or copy it again") from error
    if not isinstance(config, str | bytes):
        raise InputError(f"{path}: holds weights only, no model; save the whole model with model.save(…)")
    return _parsed(path, config.encode(errors="surrogateescape") if isinstance(config, str) else config)


def _check_links(path: Path, file: Any) -> None:
    """Refuse an HDF5 file that points to other files, or that unpacks to more than MAX_WEIGHT_BYTES."""
    import h5py

    total, groups, seen = 0, [file], set()
    while groups:
        group = groups.pop()
        if group in seen:  # a hard link may lead to a group around it
            continue
        seen.add(group)
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                raise InputError(f"{path}: {group.name}/{name} is a link to another file; save the model again")
            if isinstance(group.get(name, getlink=True), h5py.SoftLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                groups.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise InputError(f"{path}: {item.name} lies in another file; save the model again")
                total += item.nbytes
    if total > MAX_WEIGHT_BYTES:
        raise InputError(f"{path}: unpacks to more than {MAX_WEIGHT_BYTES >> 30} GiB; such models are not supported")


def _parsed(path: Path, config: bytes) -> Any:
    if len(config) > MAX_CONFIG_BYTES:
        raise InputError(f"{path}: its configuration is larger than {MAX_CONFIG_BYTES >> 20} MiB")
    try:
        return json.loads(config)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its configuration is not JSON ({error}); save or copy it again") from error


def _check_config(path: Path, config: Any) -> None:
    for part in dictionaries(config):
        name = part.get("class_name")
        if name in _RUNS_CODE:
            raise InputError(
                f"{path}: holds a {str(name).strip('_')} layer, which runs code from the file; "
                "if you trust its author, pass --trust (trust=True in Python)"
            )
        options = part.get("config")
        if isinstance(options, dict) and isinstance(options.get("vocabulary"), str):
            raise InputError(f"{path}: {name} reads its vocabulary from another file; save the model with it inside")


def dictionaries(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary inside of a JSON value, without recursion: the nesting is the file's."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _check_saved_model(path: Path) -> None:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as error:
        raise InputError(f"{path}: its saved_model.pb is damaged ({error}); save or copy it again") from error
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        for node in nodes:
            if node.op in _TOUCHES_FILES:
                raise InputError(
                    f"{path}: holds the operator {node.op}, which runs code or reaches files; "
                    "if you trust its author, pass --trust (trust=True in Python)"
                )
