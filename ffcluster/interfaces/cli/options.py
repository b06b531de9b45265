"""Options that several commands share, and the command class that ends them all alike.

Turns what was typed into checked values; decides nothing about encoding.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from ffcluster.core.model import Fallback, JobRequest
from ffcluster.core.profile import AudioMode, Codec, Profile, SubtitleMode
from ffcluster.errors import Code, ErrorReport, FfclusterError, InvalidOption
from ffcluster.interfaces.cli import completing
from ffcluster.interfaces.cli.named import DEFAULT_COORDINATOR, profiles_from
from ffcluster.interfaces.cli.output import Exit, Output

# As in `ffcluster.net.messages`, which `--help` is not to wait for.
LARGEST_PRIORITY = 1000

F = TypeVar("F", bound=Callable[..., Any])


class FfclusterCommand(click.Command):
    """A command with `--json`, `--quiet` and `--debug`, whose errors become words and a code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["--json"], is_flag=True, help="One JSON object a line on stdout."),
            click.Option(["-q", "--quiet"], is_flag=True, help="Only errors on stderr."),
            click.Option(["--debug"], is_flag=True, help="Log and tracebacks on stderr."),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and tell programs of usage errors in their own way too."""
        wants_json = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            report = ErrorReport(Code.INVALID_OPTION, error.format_message())
            Output(json=wants_json).emit_error(report, Exit.USAGE)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; it answers its exit code."""
        names = {"json", "quiet", "debug"}
        output = Output(**{name: ctx.params.pop(name) for name in names})
        ctx.params["output"] = output
        try:
            code = super().invoke(ctx)
        except FfclusterError as error:
            code = output.fail(error)
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        ctx.exit(int(code or Exit.DONE))


def coordinator_options(*, required: bool = True) -> Callable[[F], F]:
    """Add `--coordinator` and `--token-file`; without `required` there is no default."""

    def decorate(function: F) -> F:
        for option in reversed(
            (
                click.option(
                    "--coordinator",
                    metavar="URL",
                    envvar="FFCLUSTER_COORDINATOR",
                    show_envvar=True,
                    default=DEFAULT_COORDINATOR if required else None,
                    show_default=required,
                    help="The coordinator, as ws://HOST:PORT.",
                ),
                click.option(
                    "--token-file",
                    type=click.Path(path_type=Path, dir_okay=False),
                    envvar="FFCLUSTER_TOKEN_FILE",
                    show_envvar=True,
                    help="File with the coordinator's token.  [env var, in place of a file: "
                    "FFCLUSTER_TOKEN]",
                ),
            )
        ):
            function = option(function)
        return function

    return decorate


@attrs.frozen(kw_only=True)
class JobOptions:
    """What every command that plans or submits a job is given alike.

    Attributes:
        profile: Settings of the output; None when the user gave none.
        exactly: Prove every frame by decoding; None when the user did not say.
        allow_damaged: Encode what is there of a damaged source.
        cut_frames: Where the film must be cut, or () to let the coordinator choose.
        mix: Whether encoders that write different headers may share the file.
        fallback: Whether software may stand in for hardware.
        hardware_decode: Whether devices that can may also decode and scale.
        allow_missing: Whether to publish without segments that cannot be encoded anywhere.
    """

    profile: Profile | None = None
    exactly: bool | None = None
    allow_damaged: bool = False
    cut_frames: tuple[int, ...] = ()
    mix: bool = False
    fallback: Fallback = Fallback.STRICT
    hardware_decode: bool = False
    allow_missing: bool = False

    def request(
        self, source_name: str, output_name: str | None, *, server_path: str | None = None
    ) -> JobRequest:
        """Make the request for a job with these options."""
        return JobRequest(
            source_name=source_name,
            server_path=server_path,
            profile=self.profile,
            output_name=output_name,
            exactly=self.exactly,
            allow_damaged=self.allow_damaged,
            cut_frames=self.cut_frames,
            mix=self.mix,
            fallback=self.fallback,
            hardware_decode=self.hardware_decode,
            allow_missing=self.allow_missing,
        )


def _values(kind: type[enum.StrEnum]) -> click.Choice[str]:
    return click.Choice([member.value for member in kind])


profiles_option = click.option(
    "--profiles",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FFCLUSTER_PROFILES",
    show_envvar=True,
    help="TOML file with profiles.  [default: profiles.toml in the user's settings]",
)

ffmpegs_option = click.option(
    "--ffmpeg",
    multiple=True,
    help="An ffmpeg to use here; of several, the first that can drives each encoder.  "
    "[default: the first that is found]",
)

# Named as the fields of `ProfileOptions`, but for the last two.
_PROFILE_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option("--codec", type=_values(Codec), help="Codec of the video.  [default: h264]"),
    click.option(
        "--encoder",
        metavar="NAME",
        shell_complete=completing.encoder,
        help="Use only this encoder, such as libx265.",
    ),
    click.option(
        "--quality",
        type=float,
        help="Constant quality: on the scale of --encoder, or of x264, x265, SVT-AV1, libvpx.",
    ),
    click.option("--bitrate", metavar="RATE", help="Mean bitrate of the video: 4M, 800k."),
    click.option("--maxrate", metavar="RATE", help="Peak bitrate of the video."),
    click.option("--bufsize", metavar="SIZE", help="Rate-control buffer, in bits: 8M."),
    click.option("--lossless", is_flag=True, default=None, help="Keep every picture bit for bit."),
    click.option("--preset", metavar="NAME", help="A preset of the encoder that sets the scale."),
    click.option("--tune", metavar="NAME", help="The encoder's own tuning."),
    click.option("--codec-profile", metavar="NAME", help="The codec's profile: high, main10."),
    click.option("--pix-fmt", metavar="FORMAT", help="Pixel format, such as yuv420p10le."),
    click.option("--bit-depth", type=int, help="Bits per sample: 8, 10 or 12."),
    click.option("--gop", type=click.IntRange(1), help="Most frames between keyframes."),
    click.option("--b-frames", type=click.IntRange(0), help="Most B-frames in a row."),
    click.option("--scale", metavar="SIZE", help="Picture size: 1280x720, 1280x-2 or 720p."),
    click.option("--crop", metavar="RECT", help="Cut WxH out of the middle, or WxH+X+Y."),
    click.option("--deinterlace", is_flag=True, default=None, help="Make interlaced film whole."),
    click.option("--audio", type=_values(AudioMode), help="Audio.  [default: copy]"),
    click.option("--audio-bitrate", metavar="RATE", help="Bitrate of encoded audio: 160k."),
    click.option("--subtitles", type=_values(SubtitleMode), help="Subtitles.  [default: copy]"),
    click.option(
        "--ffmpeg-params",
        metavar="TEXT",
        help="Output settings as ffmpeg options; what is not understood is refused.",
    ),
    click.option(
        "--profile",
        metavar="NAME",
        shell_complete=completing.profile,
        help="Start from this profile; options change it.",
    ),
    profiles_option,
)
_PROFILE_NAMES = (
    "codec", "encoder", "quality", "bitrate", "maxrate", "bufsize", "lossless", "preset", "tune",
    "codec_profile", "pix_fmt", "bit_depth", "gop", "b_frames", "scale", "crop", "deinterlace",
    "audio", "audio_bitrate", "subtitles", "ffmpeg_params",
)  # fmt: skip

_JOB_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option(
        "--exactly/--no-exactly",
        default=None,
        help="Prove every frame by decoding it, or trust the container's index.  [default: prove]",
    ),
    click.option("--allow-damaged", is_flag=True, help="Encode what is there of a damaged source."),
    click.option(
        "--cut-frames",
        metavar="N,N,...",
        callback=lambda _ctx, _param, text: _frames(text),
        help="Begin segments at exactly these frames.",
    ),
    click.option(
        "--mix/--no-mix",
        default=False,
        help="Let encoders that write different headers share the file.  [default: one kind]",
    ),
    click.option(
        "--fallback",
        type=_values(Fallback),
        default=Fallback.STRICT.value,
        show_default=True,
        callback=lambda _ctx, _param, text: Fallback(text),
        help="Whether software may stand in for hardware that cannot do it or is gone.",
    ),
    click.option(
        "--hardware-decode/--no-hardware-decode",
        default=False,
        help="Let devices that can also decode and scale.  [default: the CPU does]",
    ),
    click.option(
        "--allow-missing",
        is_flag=True,
        help="Publish without segments that no worker can encode, rather than fail.",
    ),
)
_JOB_NAMES = (
    "exactly", "allow_damaged", "cut_frames", "mix", "fallback", "hardware_decode", "allow_missing",
)  # fmt: skip

PRIORITY = click.IntRange(-LARGEST_PRIORITY, LARGEST_PRIORITY)


def queue_options(function: F) -> F:
    """Add `--priority` and `--idempotency-key`."""
    for option in reversed(
        (
            click.option(
                "--priority",
                type=PRIORITY,
                default=0,
                show_default=True,
                help="Jobs with a higher one get workers first.",
            ),
            click.option(
                "--idempotency-key",
                metavar="TEXT",
                default="",
                help="Your own name for this request: asking again with it makes no second job.",
            ),
        )
    ):
        function = option(function)
    return function


def duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Seconds of a time as it is typed; None where there is none."""
    if text is None:
        return None
    from ffcluster.services.settings.values import BadValue, parse_duration_s

    try:
        return parse_duration_s(text)
    except BadValue as error:
        raise click.BadParameter(str(error)) from error


patience_option = click.option(
    "--patience",
    "patience_s",
    metavar="TIME",
    default="10m",
    show_default=True,
    callback=duration,
    help="How long to look for a coordinator that went away; the job goes on without you.",
)


def _frames(text: str | None) -> tuple[int, ...]:
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise click.BadParameter("frame numbers above 0, separated by commas, are allowed")
    return tuple(sorted({int(word) for word in words}))


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a profile and a job; they arrive as one `options: JobOptions`."""

    @functools.wraps(function)
    def with_options(*args: Any, **given: Any) -> Any:
        job = {name: given.pop(name) for name in _JOB_NAMES}
        named = given.pop("profile"), given.pop("profiles")
        profile = _profile({name: given.pop(name) for name in _PROFILE_NAMES}, *named)
        return function(*args, options=JobOptions(profile=profile, **job), **given)

    decorated: Callable[..., Any] = with_options
    for option in reversed((*_PROFILE_OPTIONS, *_JOB_OPTIONS)):
        decorated = option(decorated)
    return decorated


def _profile(given: dict[str, Any], name: str | None, path: Path | None) -> Profile | None:
    """Make a profile of what was given; None when nothing was."""
    from ffcluster.encoders.params import ProfileOptions, build_profile

    base = None
    if name is not None:
        found, known = profiles_from(path)
        if name not in known:
            raise InvalidOption(
                message=f"There is no profile {name} in {found}.",
                advice=f"Known: {', '.join(sorted(known)) or 'none'}.",
                option="--profile",
            )
        base = known[name]
    elif all(value is None for value in given.values()):
        return None
    return build_profile(ProfileOptions(**given), base)
