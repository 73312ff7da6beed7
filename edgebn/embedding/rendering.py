"""Templates: the text of an app that is not computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgebn.embedding.ports import Port
from edgebn.version import __version__

_FOLDER = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> bytes:
    """A file of the app from a template; `version` is edgebn's."""
    return str(_environment().get_template(template).render(version=__version__, **values)).encode()


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # C, Python and JavaScript; what comes from a model is quoted by tojson
    )
    environment.globals["ports"] = _ports
    environment.filters["code"] = _code
    return environment


def _code(value: str | Sequence[str]) -> str:
    """A code span of Markdown, fit for a table too: what JSON writes of a text, without its quotes, or of several."""
    written = json.dumps(value, ensure_ascii=False)
    within = written[1:-1] if isinstance(value, str) else written
    return "`" + within.replace("`", r"\u0060").replace("|", r"\u007c") + "`"


def _ports(ports: Sequence[Port]) -> str:
    """Name, shape and type of each, in order, as Python and JavaScript read them alike, within a page too."""
    from jinja2.utils import htmlsafe_json_dumps

    return str(htmlsafe_json_dumps([(port.name, port.tensor_shape, port.type.name) for port in ports]))
