"""Landmark methods, told as code: the package behind the course notebooks."""

__version__ = "0.1.0"
