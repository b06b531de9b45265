"""What the coordinator is put together from: what was opened, found or started before it."""

from __future__ import annotations

import attrs

from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.registry import Registry
from ffcluster.media.runner import Runner
from ffcluster.services.keeping.ledger import Ledger
from ffcluster.services.keeping.recovery import StateDirectory
from ffcluster.services.settings.config import ServerSettings
from ffcluster.store.blobs import BlobStore


@attrs.frozen
class Outside:
    """What the parts are put together from.

    Attributes:
        settings: The coordinator's settings.
        registry: The plugins.
        runner: Starts processes.
        build: The coordinator's ffmpeg.
        directory: The state directory.
        blobs: Where results and uploaded sources are kept.
        ledger: Where everything is written down.
    """

    settings: ServerSettings
    registry: Registry
    runner: Runner
    build: FfmpegBuild
    directory: StateDirectory
    blobs: BlobStore
    ledger: Ledger
