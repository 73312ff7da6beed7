"""A certificate: what was verified, by what, with which result; and whether a file still is what was certified.

It is JSON and lies beside MODEL.onnx as MODEL.certificate.json. A summary of it is in the file's own metadata, with a
hash of all but the metadata: so a file that was changed is known even where its certificate was lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from edgebn import files
from edgebn.errors import InputError
from edgebn.loading.onnx_files import parts_of
from edgebn.report import Certificate, Verdict
from edgebn.verifying.vectors import vector_files

KEY = "edgebn.certificate"
"""The metadata entry that holds the summary."""

_MOST_BYTES = 64 << 20


def certificate_of(onnx_path: Path) -> Path:
    """Where the certificate of a file lies: `model.certificate.json` beside `model.onnx`."""
    return onnx_path.with_name(f"{onnx_path.stem}.certificate.json")


def certificate_beside(onnx_path: Path) -> Path | None:
    """The certificate in the file's folder, as it is called there: by the file's own name, or as its metadata say."""
    recorded = _summary(onnx_path).get("certificate")
    names = [certificate_of(onnx_path).name, *([recorded] if isinstance(recorded, str) else [])]
    beside = (onnx_path.parent / name for name in names if name == Path(name).name)
    return next((path for path in beside if files.is_file(path)), None)


def certify(verdict: Verdict, vectors: dict[str, bytes], onnx_path: Path | None = None) -> Certificate:
    """The certificate that goes with a verdict; `vectors` are the golden vectors' contents by relative path.

    `onnx_path` is the file, if it may have weights in other files.
    """
    return Certificate(
        passed=verdict.passed,
        source=verdict.reference,
        source_sha256=verdict.reference_sha256,
        onnx_model=verdict.onnx_model,
        onnx_sha256=verdict.onnx_sha256,
        vectors={path: hashlib.sha256(content).hexdigest() for path, content in vectors.items()},
        external_data={} if onnx_path is None else _external_data(onnx_path),
        cpu=verdict.cpu,
        versions=verdict.versions,
        verdict=verdict.to_dict(),
    )


def summary(verdict: Verdict, graph_sha256: str, certificate: str) -> str:
    """What goes into the metadata, as JSON: the hash is `graph_hash` of the file, the name that of the certificate."""
    levels = dict.fromkeys(each.optimisation for each in verdict.comparisons if each.required)
    return json.dumps(
        {
            "schema": Certificate.schema,
            "passed": verdict.passed,
            "graph_sha256": graph_sha256,
            "source": verdict.reference,
            "max_abs": float(f"{verdict.max_abs:.2g}"),
            "used": float(f"{verdict.used:.2g}"),
            "changed_labels": verdict.changed_labels,
            "levels": list(levels),
            "onnxruntime": verdict.versions["onnxruntime"],
            "certificate": certificate,
        }
    )


def _external_data(onnx_path: Path) -> dict[str, str]:
    """The SHA-256 of every file that holds weights, by its path relative to the model's folder."""
    folder = onnx_path.parent.resolve()
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in sorted(parts_of(onnx_path))}


def graph_hash(model: onnx.ModelProto) -> str:
    """SHA-256 of the model without its metadata."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def certificate_notes(onnx_path: Path, certificate: Path | None) -> list[str]:
    """In sentences, in what a file and its vectors are not what was certified, by its metadata and by the certificate.

    Raises InputError if the certificate is damaged.
    """
    return [*_summary_notes(onnx_path), *(() if certificate is None else _file_notes(onnx_path, certificate))]


def named_vectors(certificate: Path) -> frozenset[str]:
    """The golden vectors of which a certificate speaks; none if it can not be read."""
    try:
        return frozenset(_read(certificate)["vectors"])
    except InputError:
        return frozenset()


def _summary_notes(onnx_path: Path) -> Iterator[str]:
    known = _summary(onnx_path)
    if not known:
        return
    if not {"graph_sha256", "passed"} <= known.keys():
        yield f"{onnx_path.name}: the certificate in its metadata is damaged"
        return
    if known["graph_sha256"] != graph_hash(onnx.load_model(onnx_path, load_external_data=False)):
        yield f"{onnx_path.name}: was changed after it was certified, by the certificate in its metadata"
    if known["passed"] is not True:
        yield f"{onnx_path.name}: did not pass when it was certified"


def _summary(onnx_path: Path) -> dict[str, Any]:
    """The summary in the metadata; without the entries that it should have, if it is damaged; empty if none is."""
    model = onnx.load_model(onnx_path, load_external_data=False)
    entries = [entry.value for entry in model.metadata_props if entry.key == KEY]
    try:
        known = json.loads(entries[0]) if entries else {}
    except (ValueError, RecursionError):
        known = None
    return known if isinstance(known, dict) and (known or not entries) else {"damaged": True}


def _file_notes(onnx_path: Path, certificate: Path) -> Iterator[str]:
    known = _read(certificate)
    if known["onnx_sha256"] != files.sha256(onnx_path):
        yield f"{onnx_path.name}: is not the file that {certificate.name} is of"
    if known["passed"] is not True:
        yield f"{onnx_path.name}: did not pass when it was certified, by {certificate.name}"
    external = _external_data(onnx_path)
    for name in sorted(known["external_data"].keys() | external.keys()):
        if known["external_data"].get(name) != external.get(name):
            yield f"{name}: is not the file with weights that {certificate.name} is of"
    folder = onnx_path.parent
    found = {file.relative_to(folder).as_posix(): files.sha256(file) for file in vector_files(folder)}
    for name in sorted(known["vectors"].keys() | found.keys()):
        if name not in found:
            yield f"{name}: is missing, but {certificate.name} names it"
        elif name not in known["vectors"]:
            yield f"{name}: is not in {certificate.name}"
        elif found[name] != known["vectors"][name]:
            yield f"{name}: is not the file that {certificate.name} is of"


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: larger than {_MOST_BYTES >> 20} MiB, which no certificate is")
        known = json.loads(path.read_text("utf-8"))
        if known["schema"] != Certificate.schema or not isinstance(known["vectors"], dict):
            raise InputError(f"{path}: is no certificate that this version knows ({Certificate.schema})")
        external = known.get("external_data", {})  # older certificates have none
        if not isinstance(external, dict):
            raise TypeError
        return {"external_data": external, **{name: known[name] for name in ("onnx_sha256", "passed", "vectors")}}
    except OSError as error:
        raise InputError(f"{path}: can not be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is a damaged certificate; verify the file anew with --certificate") from error
