"""The version of edgebn, in the one place that packaging, metadata and the command line read it from."""

__version__ = "0.1.0"
