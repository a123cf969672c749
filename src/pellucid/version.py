"""The version of this package, as the distribution's metadata and every record state it."""

__version__ = "0.1.0"
