"""Encode one video with every machine you own, frame for frame what one ffmpeg would have made."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ffcluster")
except PackageNotFoundError:  # a source tree on PYTHONPATH that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
