"""The kinds of failure a caller can meet. Each says what is wrong, where, and what to do.

Anything else that escapes from edgebn is a bug and keeps its traceback.
"""


class EdgebnError(Exception):
    """Base of every error edgebn raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 3


class UsageError(EdgebnError):
    """The call itself is wrong: an argument, an option, or a place to write to."""

    exit_code = 2


class InputError(EdgebnError):
    """A file, model or data set that can not be processed."""


class OutputError(EdgebnError):
    """A result that could not be written."""


class ConversionError(EdgebnError):
    """A model that has no faithful ONNX form, or whose converted file a runtime rejects."""
