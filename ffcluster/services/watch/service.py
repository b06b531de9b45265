"""Watch folders on a coordinator: looks at them in threads, and has jobs made of what is whole.

What is decided is in `ffcluster.core.watching`, what is done with files in
`ffcluster.services.watch.files`. This module carries decisions out, asks for jobs, and follows
them.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from ffcluster.core.job import Job, JobState
from ffcluster.core.model import JobId, JobRequest
from ffcluster.core.watching import (
    Claim,
    Comparison,
    Effect,
    Ending,
    Read,
    Settle,
    Submit,
    Take,
    Verdict,
    Watch,
)
from ffcluster.errors import Code, ErrorReport, FfclusterError
from ffcluster.services.jobs.intake import InHouse
from ffcluster.services.settings.watchfolders import Subfolders, WatchFolder
from ffcluster.services.watch.files import FolderFiles, Look, NotTaken, Returned, Stopped
from ffcluster.services.watch.onefile import plain_name

log = Logger()

_OWNER = "watch-id"
# Looking takes at most a tenth of the time, however many files there are.
_LOOKING_SHARE = 10.0
_MOST_SAID = 1000
# Files of several gigabytes are read whole: one at a time is enough for a disk.
_READS_AT_ONCE = 1


class Submissions(Protocol):
    """Where jobs are asked for; see `ffcluster.services.jobs.intake`."""

    async def submit(self, request: JobRequest, house: InHouse | None = None) -> JobId:
        """Make a job, durably; the same request under the same key is the same job."""


@attrs.frozen
class Jobs:
    """What is asked of the coordinator about jobs.

    Attributes:
        submissions: Where jobs are asked for.
        job: A job by its id, or None.
        every: Every job that is remembered.
        output_dir: Below it the outputs appear.
    """

    submissions: Submissions
    job: Callable[[JobId], Job | None]
    every: Callable[[], Iterable[Job]]
    output_dir: Path


class WatchService:
    """Watches every folder that the settings name, from `start` to `stop`.

    Args:
        reactor: Twisted's reactor.
        folders: The folders.
        state_dir: Where the coordinator's own name is kept, which marks what it took.
        jobs: The coordinator.
    """

    def __init__(
        self, reactor: Any, folders: Sequence[WatchFolder], state_dir: Path, jobs: Jobs
    ) -> None:
        self._reactor = reactor
        self._folders = folders
        self._state_dir = state_dir
        self._jobs = jobs
        self._stopping = threading.Event()
        self._reading = DeferredSemaphore(_READS_AT_ONCE)
        self._running: list[Deferred[None]] = []
        self._watched: list[_Watched] = []

    def start(self) -> None:
        """Begin to watch; what goes wrong is logged and tried again, and stops nothing else."""
        if self._folders:
            self._running.append(ensureDeferred(self._start()))
            self._running[-1].addErrback(_give_up)

    async def _start(self) -> None:
        owner = await deferToThread(_own_name, self._state_dir / _OWNER)
        for folder in self._folders:
            files = FolderFiles(folder, owner, self._stopping)
            watched = _Watched(self._reactor, folder, files, self._jobs, self._reading)
            self._watched.append(watched)
            self._running.append(ensureDeferred(watched.run()))
            self._running[-1].addErrback(_give_up)

    def stop(self) -> None:
        """Take nothing any more; what was taken is gone on with after the next start."""
        self._stopping.set()
        for running in self._running:
            running.cancel()
        for watched in self._watched:
            watched.stop()


def _give_up(failure: Any) -> None:
    if not failure.check(CancelledError):
        log.failure("a watch folder is not watched any more", failure)


def _own_name(path: Path) -> str:
    """The coordinator's own name, the same after every restart."""
    try:
        name = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        name = ""
    if not name.isalnum() or len(name) > 64:
        name = secrets.token_hex(8)
        path.write_text(name, "ascii")
    return name


class _Watched:
    """One folder that is watched."""

    def __init__(
        self,
        reactor: Any,
        folder: WatchFolder,
        files: FolderFiles,
        jobs: Jobs,
        reading: DeferredSemaphore,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._files = files
        self._jobs = jobs
        self._reading = reading
        self._watch = Watch(folder.rules)
        self._said: set[str] = set()
        self._effects: set[Deferred[None]] = set()

    def stop(self) -> None:
        """Wait for nothing any more; what a thread has begun it ends."""
        for effect in list(self._effects):
            effect.cancel()

    async def run(self) -> None:
        """Watch, until this is cancelled."""
        while not await self._prepared():
            await deferLater(self._reactor, self._folder.every_s)
        log.info("watching {path}", path=self._folder.path)
        while True:
            began = self._reactor.seconds()
            await self._look()
            took_s = self._reactor.seconds() - began
            await deferLater(self._reactor, max(self._folder.every_s, _LOOKING_SHARE * took_s))

    async def _prepared(self) -> bool:
        try:
            claims = await deferToThread(self._files.prepare)
            left = await deferToThread(self._files.left)
        except OSError as error:
            self._say_once(f"{self._folder.path} cannot be watched: {error}")
            return False
        self._watch = Watch(self._folder.rules, claims, left)
        for claim in claims:
            log.info("{name!r} was taken earlier, and is gone on with", name=claim.name)
        return True

    async def _look(self) -> None:
        try:
            look, comparison = await deferToThread(self._compared)
        except OSError as error:
            self._say_once(f"{self._folder.path} cannot be looked at: {error.strerror}")
            return
        for problem in look.problems:
            self._say_once(f"{self._folder.path}: {problem}")
        self._carry_out(self._watch.adopt(comparison))
        for claim in self._watch.running():
            ending = self._ending_of(claim)
            if ending is not None:
                self._carry_out(self._watch.ended(claim.id, ending))

    def _compared(self) -> tuple[Look, Comparison]:
        look = self._files.look()
        return look, self._watch.compare(look.found)

    def _say_once(self, text: str) -> None:
        if text not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(text)
            log.warn("{text}", text=text)

    # --- effects -------------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            doing = ensureDeferred(self._do(effect))
            self._effects.add(doing)
            doing.addErrback(_unexpected)
            doing.addBoth(self._ended, doing)

    def _ended(self, _: Any, effect: Deferred[None]) -> None:
        self._effects.discard(effect)

    async def _do(self, effect: Effect) -> None:
        if isinstance(effect, Take):
            await self._take(effect)
            return
        claim = self._watch.claims[effect.claim_id]
        try:
            match effect:
                case Read():
                    await self._read(claim)
                case Submit():
                    await self._submit(claim)
                case Settle(ending=ending):
                    await self._settle(claim, ending)
        except Returned as returned:
            log.info("{text}", text=str(returned))
            self._watch.returned(claim.id)
        except Stopped:
            return
        except (OSError, FfclusterError) as error:
            self._say_once(f"{claim.name!r} in {self._folder.path} has to wait: {error}")
            self._watch.failed(claim.id)

    async def _take(self, effect: Take) -> None:
        try:
            claim = await deferToThread(self._files.take, effect.name, effect.stamp)
        except (NotTaken, OSError, FfclusterError) as error:
            if str(error):
                self._say_once(f"{self._folder.path}: {error}")
            self._watch.not_taken(effect.name)
            return
        log.info("{name!r} was taken from {path}", name=claim.name, path=self._folder.path)
        self._carry_out(self._watch.taken(claim))

    async def _read(self, claim: Claim) -> None:
        sha256, twin = await self._reading.run(deferToThread, self._files.sha256, claim)
        await deferToThread(self._files.note, attrs.evolve(claim, sha256=sha256))
        self._carry_out(self._watch.known(claim.id, sha256, twin))

    async def _submit(self, claim: Claim) -> None:
        source = await deferToThread(self._files.source_of, claim)
        job_id = self._job_of(source)
        if job_id is None:
            folder = output_folder(self._folder, claim)
            await deferToThread(_make_folder, self._jobs.output_dir / folder)
            house = InHouse(f"watch folder {self._folder.path}", folder)
            try:
                job_id = await self._jobs.submissions.submit(
                    request_for(self._folder, claim, source), house
                )
            except FfclusterError as error:
                if _passes(error):
                    raise
                ending = Ending(Verdict.FAILED, reason_text(claim, ErrorReport.of(error)))
                self._carry_out(self._watch.ended(claim.id, ending))
                return
        log.info("{name!r} became job {job}", name=claim.name, job=job_id)
        await deferToThread(self._files.note, attrs.evolve(claim, job_id=job_id))
        self._watch.submitted(claim.id, job_id)

    def _job_of(self, source: Path) -> JobId | None:
        """The job that was made of a claim before that could be noted."""
        location = str(source)
        return next((job.id for job in self._jobs.every() if job.source.location == location), None)

    async def _settle(self, claim: Claim, ending: Ending) -> None:
        left = await deferToThread(self._files.settle, claim, ending)
        log.info(
            "{name!r} from {path}: {verdict}",
            name=claim.name,
            path=self._folder.path,
            verdict=ending.verdict.value,
        )
        self._carry_out(self._watch.settled(claim.id, left))

    # --- jobs ----------------------------------------------------------------------------------

    def _ending_of(self, claim: Claim) -> Ending | None:
        """How a claim's job ended, or None as long as it has not."""
        job = self._jobs.job(JobId(claim.job_id))
        if job is None:
            report = ErrorReport(
                Code.NOT_FOUND, f"The coordinator does not know job {claim.job_id} any more."
            )
            return Ending(Verdict.FAILED, reason_text(claim, report))
        if not job.ended:
            return None
        if job.state is JobState.COMPLETED and job.outcome is not None:
            return Ending(Verdict.DONE, job.outcome.path)
        report = job.error or ErrorReport(Code.CANCELLED, f"Job {job.id} was cancelled.")
        return Ending(Verdict.FAILED, reason_text(claim, report))


def _unexpected(failure: Any) -> None:
    if not failure.check(CancelledError):
        log.failure("a file of a watch folder is left as it is until the next start", failure)


def _passes(error: FfclusterError) -> bool:
    """Whether it is worth asking again later."""
    return error.retryable or error.code is Code.INTERNAL


def _make_folder(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)


# --- what is asked for ---------------------------------------------------------------------------


def request_for(folder: WatchFolder, claim: Claim, source: Path) -> JobRequest:
    """What is asked of the coordinator for a claim whose file is `source`."""
    shown = plain_name(PurePosixPath(claim.name).name)
    return attrs.evolve(
        folder.request,
        source_name=shown,
        server_path=str(source),
        output_name=f"{PurePosixPath(shown).stem or 'film'}.{folder.container.value}",
        idempotency_key=key_for(claim),
    )


def key_for(claim: Claim) -> str:
    """The idempotency key of a claim: which file it is, what it holds, and which time it came.

    A file that failed and is put into the folder again is a claim of its own, so another job.
    """
    stamp = claim.stamp
    identity = (claim.id, stamp.device, stamp.inode, stamp.mtime_ns, stamp.size_bytes, claim.sha256)
    return "watch-" + hashlib.sha256(repr(identity).encode()).hexdigest()


def output_folder(folder: WatchFolder, claim: Claim) -> str:
    """Where the output of a claim appears, below the coordinator's output directory."""
    parts = [folder.output] if folder.output else []
    if folder.subfolders is Subfolders.MIRROR:
        parts += [plain_name(part) for part in PurePosixPath(claim.name).parts[:-1]]
    return "/".join(parts)


def reason_text(claim: Claim, report: ErrorReport) -> str:
    """What a person reads beside a file that was set aside."""
    lines = [f"{claim.name!r} was not encoded: {report.message}"]
    if report.advice:
        lines.append(report.advice)
    if claim.job_id:
        lines.append(f"More about it: ffcluster job {claim.job_id}")
    lines.append("To try it again, move the file back into the watch folder.")
    return "\n".join(lines)
