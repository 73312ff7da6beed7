"""A verdict as JUnit XML, which every CI shows: a test case for each probe and output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from edgebn.report import Replay, Verdict


def write(path: Path, result: Verdict | Replay) -> None:
    """Write `result` to `path`. Raises as `files.replacing` does."""
    from edgebn import files

    files.write_bytes(path, content(result))


def write_error(path: Path, name: str, message: str) -> None:
    """Write that `name` could not be verified, so that no verdict of another time is taken for this one's."""
    from edgebn import files

    suite = ElementTree.Element("testsuite", name=f"edgebn verify {name}", tests="1", failures="0", errors="1")
    case = ElementTree.SubElement(suite, "testcase", classname=name, name="can be verified")
    ElementTree.SubElement(case, "error", message=message).text = message
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    files.write_bytes(path, bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n")


def content(result: Verdict | Replay) -> bytes:
    """The XML, in UTF-8."""
    from edgebn.report import Replay

    cases = list(_replayed(result) if isinstance(result, Replay) else _compared(result))
    if not result.passed and (isinstance(result, Replay) or all(failure is None for _, failure in cases)):
        cases.extend((note, note) for note in result.notes)  # then it is they that say what is wrong
    failures = sum(failure is not None for _, failure in cases)
    suite = ElementTree.Element(
        "testsuite", name=f"edgebn verify {result.onnx_model}", tests=str(len(cases)), failures=str(failures)
    )
    for name, failure in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=result.onnx_model, name=name)
        if failure is not None:
            ElementTree.SubElement(case, "failure", message=failure).text = failure
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _compared(verdict: Verdict) -> Iterator[tuple[str, str | None]]:
    for each in verdict.comparisons:
        if not each.required:
            continue
        threads = f"{each.threads} thread{'s' if each.threads > 1 else ''}"
        name = f"{each.output}: {each.probe}, optimisations {each.optimisation}, {threads}, batch {each.batch_size}"
        failure = (
            f"off by up to {each.difference.max_abs:.3g}; channel {each.channel} by {each.used:.3g} times its "
            f"tolerance {each.tolerance:.3g}{'' if verdict.culprit is None else f'; {verdict.culprit}'}"
        )
        yield name, None if each.passed else failure


def _replayed(replay: Replay) -> Iterator[tuple[str, str | None]]:
    for each in replay.replayed:
        failure = (
            f"off by up to {each.difference.max_abs:.3g}; a channel by {each.used:.3g} times its tolerance "
            f"{each.tolerance:.3g}"
        )
        yield f"{each.data_set}: {each.output}", None if each.passed else failure
