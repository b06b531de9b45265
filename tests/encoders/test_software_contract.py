"""The software backend, by the suite that every plugin can use."""

from __future__ import annotations

from ffcluster.encoders.software import SoftwareBackend
from ffcluster.testing import BackendContract


class TestSoftware(BackendContract):
    backend = SoftwareBackend()
    # They really encode, and tests/encoders/test_argv_lint.py looks at far more.
    lint_samples = 3
