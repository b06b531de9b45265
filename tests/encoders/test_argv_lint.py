"""Every argument list that a backend builds is one that real ffmpegs parse, or are known to."""

from __future__ import annotations

import attrs
import pytest

from ffcluster.core.profile import RateMode
from ffcluster.encoders.backend import Backend, EncoderSchema
from ffcluster.encoders.build import FfmpegBuild
from tests.encoders.argv import Case, offers, product_size, recorded_build, settings
from tests.encoders.argv_lint import Tally, lint, lint_recorded, unknown
from tests.encoders.builds import build_id, builds
from tests.encoders.facts import VERSIONS, facts

# Choices of settings for each encoder on each ffmpeg; `python -m tests.encoders.argv_table` takes
# as many as one likes.
_MOST = 20
_MOST_RECORDED = 1500

OFFERS = list(offers())
AT_HAND = [
    pytest.param(backend, schema, build, id=f"{schema.encoder}-{build_id(build)}")
    for backend, schema in OFFERS
    for build in builds()
    if schema.encoder in build.encoders
]
RECORDED = [
    pytest.param(backend, schema, version, id=f"{schema.encoder}-{version}")
    for backend, schema in OFFERS
    for version in VERSIONS
    if schema.encoder in facts(version)["encoders"]
]


def check(tally: Tally) -> None:
    assert tally.lints
    assert not tally.complaints, "\n".join(
        f"{lint.complaint}\n    {' '.join(lint.argv)}" for lint in tally.complaints[:5]
    )


@pytest.mark.parametrize(("backend", "schema", "build"), AT_HAND)
def test_every_argv_is_accepted_by_the_real_parser(
    backend: Backend, schema: EncoderSchema, build: FfmpegBuild
) -> None:
    check(lint(backend, schema, build, _MOST))


@pytest.mark.parametrize(("backend", "schema", "version"), RECORDED)
def test_every_argv_holds_only_what_the_release_was_recorded_to_know(
    backend: Backend, schema: EncoderSchema, version: str
) -> None:
    build = recorded_build(version)
    check(lint_recorded(backend, schema, build, facts(version), _MOST_RECORDED))


@pytest.mark.parametrize(
    ("backend", "schema"),
    [
        pytest.param(*offer, id=offer[1].encoder)
        for offer in OFFERS
        if offer[0].name != "software" or offer[1].encoder in facts("9.0.2")["encoders"]
    ],
)
def test_default_settings_with_every_rate_mode_make_an_argv(
    backend: Backend, schema: EncoderSchema
) -> None:
    assert product_size(backend, schema) > 1
    every = settings(backend, schema)
    default = {name: found[0] for name, found in every.items()}
    build = recorded_build("9.0.2")
    for rate in every["rate"]:
        arguments = Case(backend, schema, build, {**default, "rate": rate}).arguments()
        assert arguments is not None, rate
        assert arguments.output_args[:2] == ("-c:v", schema.encoder)
        assert "-level" not in arguments.output_args or schema.encoder == "ffv1"
        if rate.mode is RateMode.BITRATE:
            assert "-b:v" in arguments.output_args


def test_recordings_tell_unknown_options_and_values_apart() -> None:
    backend, schema = next(o for o in OFFERS if o[1].encoder == "h264_qsv")
    every = settings(backend, schema)
    default = {name: found[0] for name, found in every.items()}
    made = Case(backend, schema, recorded_build("9.0.2"), default).arguments()
    assert made is not None
    known = facts("9.0.2")
    assert unknown(made, known) == ""
    for words, complaint in (
        (("-nosuch", "1"), "no option nosuch"),
        (("-preset", "p5"), "no value p5"),
        (("-cq", "20"), "no option cq"),
    ):
        from_elsewhere = (*made.output_args, *words)
        assert complaint in unknown(attrs.evolve(made, output_args=from_elsewhere), known)
