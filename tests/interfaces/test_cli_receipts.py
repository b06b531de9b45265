"""`job --receipt`, `job --attempts` and `reproduce`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from ffcluster.core.durable import AttemptEnd
from ffcluster.core.receipts import JobReceipt
from ffcluster.core.timeline import FrameRange
from ffcluster.errors import FfclusterError, NotReproducible
from ffcluster.interfaces.cli.main import cli
from ffcluster.media.sameness import Match
from ffcluster.services.keeping.receiptfile import read_receipt, receipt_text
from ffcluster.services.local.reproduction import Reproduction, Wish
from tests.interfaces.fakes import (
    FakeClient,
    a_receipt,
    an_attempt,
    invoke,
    objects,
    runtime_with,
)

# --- receipts ------------------------------------------------------------------------------------


def test_receipt_on_stdout_is_one_document_that_can_be_read_again() -> None:
    client = FakeClient()
    result = invoke(client, "job", "job1", "--receipt")
    assert result.exit_code == 0, result.output
    assert read_receipt(result.stdout.encode(), "it") == client.written


def test_receipt_goes_to_a_file_whole(tmp_path: Path) -> None:
    client, path = FakeClient(), tmp_path / "receipt.json"
    result = invoke(client, "job", "job1", "--receipt", path)
    assert read_receipt(path.read_bytes(), "it") == client.written
    assert result.stdout == ""
    assert "2 segments" in result.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_receipt_replaces_a_file_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text("precious")
    client = FakeClient()
    assert invoke(client, "job", "job1", "--receipt", path).exit_code == 2
    assert path.read_text() == "precious"
    assert client.said == []
    assert invoke(client, "job", "job1", "--receipt", path, "--overwrite").exit_code == 0
    assert path.read_text() != "precious"


def test_report_goes_to_a_file_and_replaces_none_unless_told_to(tmp_path: Path) -> None:
    client, path = FakeClient(), tmp_path / "report.html"
    result = invoke(client, "job", "job1", "--report", path)
    assert result.exit_code == 0
    assert path.read_text() == "<!DOCTYPE html>job job1\n"
    assert client.said[1:] == ["report", "close"]
    assert invoke(client, "job", "job1", "--report", path).exit_code == 2
    assert invoke(client, "job", "job1", "--report", path, "--overwrite").exit_code == 0
    (line,) = objects(invoke(client, "job", "job1", "--json", "--report", path, "--overwrite"))
    assert (line["job"], line["path"]) == ("job1", str(path))


@pytest.mark.parametrize("option", ["--receipt", "--segments", "--attempts"])
def test_report_is_written_alone(tmp_path: Path, option: str) -> None:
    path = tmp_path / "report.html"
    assert invoke(FakeClient(), "job", "job1", "--report", path, option).exit_code == 2
    assert not path.exists()


def test_receipt_for_programs_is_in_the_result(tmp_path: Path) -> None:
    (line,) = objects(invoke(FakeClient(), "job", "job1", "--json", "--receipt"))
    assert line["type"] == "result"
    attempt = line["receipt"]["segments"][0]["attempts"][1]
    assert attempt["capability"]["threads"] == 2
    assert attempt["proof"]["argv"] == ["ffmpeg", "-i", "piece"]
    path = tmp_path / "receipt.json"
    (line,) = objects(invoke(FakeClient(), "job", "job1", "--json", "--receipt", path))
    assert line["path"] == str(path)


def test_receipt_beside_other_views_is_refused() -> None:
    assert invoke(FakeClient(), "job", "job1", "--attempts", "--receipt").exit_code == 2


def test_attempts_say_who_what_how_long_and_why_not() -> None:
    shown = invoke(FakeClient(), "job", "job1", "--attempts").stdout
    rows = [line.split() for line in shown.splitlines()]
    failed = ["0", "[0,", "50)", "1", "cellar", "libx264", "CPU", "9.0.2", "12.0"]
    assert [*failed, "failed:", "its", "lease", "ended"] in rows
    made = ["0", "[0,", "50)", "2", "attic", "libx264", "CPU", "9.0.2", "12.0", "committed"]
    assert made in rows


def test_result_that_was_dropped_is_told_apart_from_the_one_that_counts() -> None:
    segments = a_receipt().segments
    twice = attrs.evolve(segments[0], attempts=(an_attempt(1), an_attempt(2)))
    live = attrs.evolve(
        segments[1], attempts=(an_attempt(3, 50, 100, AttemptEnd.LIVE, state="running",
                                          ended_at=None, speculative=True),),
    )  # fmt: skip
    written = a_receipt(segments=(twice, live))
    shown = invoke(FakeClient(written=written), "job", "job1", "--attempts").stdout
    assert "committed, then dropped" in shown
    assert "libx264 (second one beside another)" in shown
    assert shown.rstrip().endswith("running")


def test_attempts_of_a_job_without_any() -> None:
    written = a_receipt(segments=())
    assert (
        "No attempt was made yet."
        in invoke(FakeClient(written=written), "job", "job1", "--attempts").stdout
    )


def test_attempts_for_programs_are_rows() -> None:
    (line,) = objects(invoke(FakeClient(), "job", "job1", "--attempts", "--json"))
    first, second = line["attempts"]
    assert (first["worker"], first["end"], first["error"]["code"]) == (
        "cellar", "failed", "worker_lost",
    )  # fmt: skip
    assert (second["encode_s"], second["took_s"], second["sha256"]) == (10.0, 12.0, "ab" * 32)


# --- receipts as files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"nonsense", b'{"receipt_format": 2}', b'{"receipt_format": 1}']
)
def test_what_is_no_receipt_is_refused_with_its_name(data: bytes) -> None:
    with pytest.raises(FfclusterError, match=r"my\.json"):
        read_receipt(data, "my.json")


def test_receipt_of_a_later_version_may_know_more() -> None:
    document = json.loads(receipt_text(a_receipt()))
    document["invented"] = {"later": 1}
    document["segments"][0]["attempts"][0]["mood"] = "good"
    assert read_receipt(json.dumps(document).encode(), "it") == a_receipt()


# --- reproduce -----------------------------------------------------------------------------------


def a_reproduction(match: Match = Match.FILE, **changes: Any) -> Reproduction:
    made = Reproduction(
        job="job1", segment=0, frames=FrameRange(0, 50), epoch=2, worker="attic",
        encoder="libx264", device="", match=match, frames_compared=50,
        against="frames 0 to 49 of the published file", first_other=None, mean_psnr_db=None,
        least_psnr_db=None, sha256="ab" * 32, committed_sha256="ab" * 32, ffmpeg="9.0.2",
        committed_ffmpeg="9.0.2", argv=("ffmpeg",), committed_argv=("ffmpeg",), encode_s=1.5,
    )  # fmt: skip
    return attrs.evolve(made, **changes)


@attrs.define
class Maker:
    """Stands for the work; notes what it was asked."""

    made: Reproduction = attrs.field(factory=a_reproduction)
    error: FfclusterError | None = None
    asked: list[tuple[JobReceipt, Wish]] = attrs.field(factory=list)

    async def __call__(self, reactor: Any, receipt: JobReceipt, wish: Wish) -> Reproduction:
        self.asked.append((receipt, wish))
        if self.error is not None:
            raise self.error
        return self.made


def reproduce(maker: Maker, *words: str | Path, client: FakeClient | None = None) -> Result:
    runtime = attrs.evolve(runtime_with(client or FakeClient()), reproduce=maker)
    return CliRunner().invoke(cli, ["reproduce", *map(str, words)], obj=runtime)


def test_receipt_comes_from_the_coordinator_whose_session_is_not_kept_open() -> None:
    maker, client = Maker(), FakeClient()
    result = reproduce(maker, "job1", "0", client=client)
    assert result.exit_code == 0, result.output
    assert maker.asked == [(client.written, Wish(number=0))]
    assert client.said[-2:] == ["receipt", "close"]
    assert "segment 0 (frames 0 to 49): same, byte for byte" in result.stdout
    assert "compared with frames 0 to 49 of the published file" in result.stdout


def test_receipt_file_needs_no_coordinator(tmp_path: Path) -> None:
    path, client = tmp_path / "receipt.json", FakeClient()
    path.write_text(receipt_text(client.written))
    maker = Maker()
    assert reproduce(maker, "job1", "0", "--receipt", path, client=client).exit_code == 0
    assert maker.asked[0][0] == client.written
    assert client.said == []


def test_receipt_of_another_job_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(receipt_text(a_receipt()))
    assert reproduce(Maker(), "job2", "0", "--receipt", path).exit_code == 5


def test_everything_that_was_named_is_passed_on(tmp_path: Path) -> None:
    maker = Maker()
    reproduce(
        maker, "job1", "@70", "--source", tmp_path / "in.mkv", "--output", tmp_path / "out.mp4",
        "--keep", tmp_path / "kept", "--ffmpeg", "a", "--ffmpeg", "b",
    )  # fmt: skip
    assert maker.asked[0][1] == Wish(
        frame=70, source=tmp_path / "in.mkv", output=tmp_path / "out.mp4",
        keep=tmp_path / "kept", ffmpegs=("a", "b"),
    )  # fmt: skip


@pytest.mark.parametrize("wrong", ["x", "@", "1.5", "@-1", "²"])
def test_segment_is_a_number_or_a_frame(wrong: str) -> None:
    assert reproduce(Maker(), "job1", wrong).exit_code == 2


def test_difference_is_an_exit_code_of_its_own_and_says_how_much() -> None:
    made = a_reproduction(
        Match.NOTHING, first_other=12, mean_psnr_db=41.256, least_psnr_db=38.1,
        warnings=("ffmpeg 9.0.2 then, 5.1.9 here",),
    )  # fmt: skip
    result = reproduce(Maker(made), "job1", "0")
    assert result.exit_code == 3
    assert "DIFFERENT, first in frame 12; PSNR 41.26 dB, least 38.10 dB" in result.stdout
    assert "Warning: Not as it was: ffmpeg 9.0.2 then, 5.1.9 here." in result.stderr


@pytest.mark.parametrize(
    ("match", "words"),
    [(Match.PACKETS, "every byte of its 50 packets"), (Match.PICTURES, "same 50 pictures")],
)
def test_what_is_the_same_is_said_exactly(match: Match, words: str) -> None:
    result = reproduce(Maker(a_reproduction(match)), "job1", "0")
    assert result.exit_code == 0
    assert words in result.stdout


def test_what_cannot_be_told_is_an_exit_code_of_its_own() -> None:
    error = NotReproducible(message="The film is gone.", advice="Name it with --source FILE.")
    result = reproduce(Maker(error=error), "job1", "0", "--json")
    assert result.exit_code == 6
    (line,) = objects(result)
    assert (line["type"], line["code"], line["exit_code"]) == ("error", "not_reproducible", 6)


def test_reproduction_for_programs_has_both_commands_and_hashes() -> None:
    made = a_reproduction(kept=(Path("/kept/a.mkv"),), warnings=("odd",))
    warning, line = objects(reproduce(Maker(made), "job1", "0", "--json"))
    assert warning["type"] == "warning"
    assert line["same"] is True
    assert line["match"] == "file"
    assert line["frames"] == {"first": 0, "stop": 50}
    assert line["argv"] == line["committed_argv"] == ["ffmpeg"]
    assert line["kept"] == ["/kept/a.mkv"]
