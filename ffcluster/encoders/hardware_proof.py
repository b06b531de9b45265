"""Prove hardware encoders step by step. Keeps no state and runs nothing; see `hardware`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from ffcluster.core.model import Capability, Diagnosis, Trouble
from ffcluster.core.profile import RateMode
from ffcluster.encoders.backend import Finding, Machine, Probe, ProbeOutcome
from ffcluster.encoders.build import FfmpegBuild
from ffcluster.encoders.hardware_trials import TRIAL_TIMEOUT_S, Device, Scout, Step, Trial
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.troubles import (
    About,
    Verdict,
    judge,
    last_resort,
    size_limits,
    verdicts,
)
from ffcluster.errors import FfclusterError

if TYPE_CHECKING:
    from ffcluster.encoders.hardware import HardwareBackend

# Below every capability of a hardware encoder and above every one in software.
BASE_RANK = 100
_SILENCE = Verdict(Trouble.BROKEN, "it failed without a word")
_SCOUT = "scout"
_MOST_RETRIES = 2


@attrs.frozen
class Prover:
    """Finds out what the encoders of one family can do."""

    family: HardwareBackend

    def begin(self, build: FfmpegBuild, machine: Machine) -> Sequence[Finding]:
        """Look for devices; that an encoder is compiled in does not mean that it works."""
        if machine.platform not in self.family.platforms:
            return []
        compiled = self._compiled(build)
        if not compiled:
            cause = f"this ffmpeg was built without {self.family.name} encoders"
            hint = "use an ffmpeg that has them"
            return [Diagnosis(self.family.name, "", cause, hint, ffmpeg=build.version)]
        build = attrs.evolve(build, encoders=frozenset(s.encoder for s in compiled))
        findings: list[Finding] = []
        for seen in self.family.look(build, machine):
            if isinstance(seen, Device):
                findings += self._begin(build, seen)
            elif isinstance(seen, Scout):
                findings.append(self._scout(build, seen))
            else:
                findings.append(attrs.evolve(seen, ffmpeg=build.version))
        return findings

    def go_on(self, probe: Probe, outcome: ProbeOutcome) -> Sequence[Finding]:
        """Draw conclusions from a scout or a trial, and ask for what follows."""
        trial = Trial.of(probe)
        if trial.step == _SCOUT:
            return self._scouted(trial, outcome)
        schema = self.family.schema(probe.encoder)
        step = self._step(trial, schema)
        if outcome.returncode == 0 and not outcome.timed_out:
            return [*self._succeeded(trial, schema, step), *self._next(trial, schema)]
        if again := self._again(probe, trial, schema, outcome):
            return [again]
        verdict = judge(self.family.rules, outcome) or last_resort(outcome) or _SILENCE
        if step == self.family.first:
            return [self._failure(trial, schema, step, verdict)]
        # What was dropped in vain is not left out of what follows.
        before = attrs.evolve(trial, dropped=trial.dropped[: trial.proven])
        found: list[Finding] = []
        if step.finds_limits:
            found = self._limits(before, schema, outcome)
        elif not step.rare or verdict.trouble is not Trouble.UNSUPPORTED:
            found = [self._failure(trial, schema, step, verdict)]
        return [*found, *self._next(before, schema)]

    def _compiled(self, build: FfmpegBuild) -> list[EncoderSchema]:
        return [s for s in self.family.schemas if s.encoder in build.encoders]

    def _step(self, trial: Trial, schema: EncoderSchema) -> Step:
        steps = (self.family.first, *self.family.steps(trial.build, schema))
        return {step.name: step for step in steps}[trial.step]

    def _scout(self, build: FfmpegBuild, scout: Scout) -> Probe:
        return Probe(
            self.family.name,
            scout.argv,
            device=scout.device.name,
            context=Trial(build, scout.device, _SCOUT).context(),
            timeout_s=TRIAL_TIMEOUT_S,
        )

    def _scouted(self, trial: Trial, outcome: ProbeOutcome) -> list[Finding]:
        found = self.family.read_scout(trial.device, outcome)
        if found:
            return [finding for device in found for finding in self._begin(trial.build, device)]
        verdict = judge(self.family.rules, outcome) or last_resort(outcome)
        if verdict is None:
            cause, hint = "there is no device", "check that its driver is installed"
            verdict = Verdict(Trouble.MISSING, cause, hint)
        about = About.DEVICE if verdict.about is About.ENCODER else verdict.about
        verdict = attrs.evolve(verdict, about=about)
        return [verdict.diagnosis(self.family.name, trial.device.name, ffmpeg=trial.build.version)]

    def _begin(self, build: FfmpegBuild, device: Device) -> list[Finding]:
        """The first trial of every encoder on `device`."""
        findings: list[Finding] = []
        for schema in self.family.schemas:
            if schema.encoder in build.encoders:
                todo = tuple(step.name for step in self.family.steps(build, schema))
                trial = Trial(build, device, self.family.first.name, todo)
                findings.append(self._probe(trial, schema, self.family.first))
                continue
            cause, hint = f"this ffmpeg was built without {schema.encoder}", "use one that has it"
            missing = Diagnosis(self.family.name, "", cause, hint, schema.encoder)
            findings.append(attrs.evolve(missing, ffmpeg=build.version))
        return findings

    def _probe(self, trial: Trial, schema: EncoderSchema, step: Step) -> Probe:
        made = self.family.arguments(
            trial.build,
            self._draft(trial, schema, pix_fmts=(step.pix_fmt,)),
            step.profile(schema, trial.without),
            step.video,
            threads=0,
            hardware_decode=step.decode,
        )
        return Probe(
            self.family.name,
            step.argv(made),
            schema.encoder,
            schema.codec,
            trial.device.name,
            step.pix_fmt,
            trial.without,
            trial.context(),
            timeout_s=TRIAL_TIMEOUT_S,
        )

    def _draft(
        self, trial: Trial, schema: EncoderSchema, *, pix_fmts: tuple[str, ...]
    ) -> Capability:
        """What is the same for everything that is claimed of an encoder on a device."""
        return Capability(
            encoder=schema.encoder,
            codec=schema.codec,
            backend=self.family.name,
            device=trial.device.name,
            pix_fmts=pix_fmts,
            slots=self.family.slots,
            presets=schema.presets,
            min_size=self.family.least_size,
            rank=BASE_RANK + self.family.standing,
            without=trial.without,
            device_name=trial.device.label,
            driver=trial.device.driver,
            ffmpeg=trial.build.version,
        )

    def _again(
        self, probe: Probe, trial: Trial, schema: EncoderSchema, outcome: ProbeOutcome
    ) -> Probe | None:
        """The same trial once more: without what was refused, or because the device was busy."""
        step = self._step(trial, schema)
        for verdict in verdicts(self.family.rules, outcome):
            if verdict.trouble is Trouble.BUSY and trial.retries < _MOST_RETRIES:
                return self._probe(attrs.evolve(trial, retries=trial.retries + 1), schema, step)
            if not verdict.drops or verdict.drops in trial.without:
                continue
            dropped = (*trial.dropped, (verdict.drops, verdict.cause))
            again = self._probe(attrs.evolve(trial, dropped=dropped), schema, step)
            # What the options do not depend on cannot be left out.
            if again.argv != probe.argv:
                return again
        return None

    def _next(self, trial: Trial, schema: EncoderSchema) -> list[Finding]:
        """The next step's trial, if there is one that these settings can be written for."""
        todo = list(trial.todo)
        while todo:
            name = todo.pop(0)
            following = attrs.evolve(
                trial, step=name, todo=tuple(todo), retries=0, proven=len(trial.dropped)
            )
            step = self._step(following, schema)
            try:
                probe = self._probe(following, schema, step)
            except FfclusterError:
                continue
            if step.decode and "-hwaccel" not in probe.argv:
                continue
            return [probe]
        return []

    def _succeeded(self, trial: Trial, schema: EncoderSchema, step: Step) -> list[Finding]:
        """What a successful trial proves, and what was dropped on the way to it."""
        if step.finds_limits:
            return []
        mode = step.profile(schema, trial.without).rate.mode
        modes = {mode}
        if not any(s.rate is RateMode.BITRATE for s in self.family.steps(trial.build, schema)):
            # Where no step tries it, the family always has it.
            modes.add(RateMode.BITRATE)
        proven = attrs.evolve(
            self._draft(trial, schema, pix_fmts=(step.pix_fmt,)),
            bit_depths=(step.depth,),
            rate_modes=tuple(m for m in RateMode if m in modes),
            hardware_decode=step.decode,
        )
        return [proven, *(self._dropped(trial, schema, *pair) for pair in trial.dropped)]

    def _dropped(self, trial: Trial, schema: EncoderSchema, extra: str, cause: str) -> Diagnosis:
        return Diagnosis(
            self.family.name,
            trial.device.name,
            cause,
            f"{schema.encoder} is used without {extra} there",
            schema.encoder,
            Trouble.DROPPED,
            extra,
            trial.build.version,
        )

    def _limits(self, trial: Trial, schema: EncoderSchema, outcome: ProbeOutcome) -> list[Finding]:
        """The sizes that a refusal names; nothing when it names none."""
        limits = size_limits(outcome.stderr)
        if limits is None:
            return []
        least, largest = limits
        width, height = map(max, least, self.family.least_size)
        return [
            attrs.evolve(
                self._draft(trial, schema, pix_fmts=()),
                bit_depths=(),
                rate_modes=(),
                min_size=(width, height),
                max_size=largest,
            )
        ]

    def _failure(
        self, trial: Trial, schema: EncoderSchema, step: Step, verdict: Verdict
    ) -> Diagnosis:
        if step != self.family.first and verdict.trouble is not Trouble.BUSY:
            about = About.DEVICE if step.decode else About.ENCODER
            trouble, cause = verdict.trouble, f"{step.title or step.name}: {verdict.cause}"
            if trouble is Trouble.MISSING or step.decode:
                trouble = Trouble.UNSUPPORTED
            verdict = attrs.evolve(verdict, trouble=trouble, cause=cause, about=about)
        return verdict.diagnosis(
            self.family.name, trial.device.name, schema.encoder, trial.build.version
        )


__all__ = ["BASE_RANK", "Prover"]
