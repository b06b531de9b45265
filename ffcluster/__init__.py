"""Encode one video with every machine you own, frame for frame what one ffmpeg would have made."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: it takes 50 ms that helper processes do without."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ffcluster")
    except PackageNotFoundError:  # a source tree on PYTHONPATH that was never installed
        return "0.0.0"
