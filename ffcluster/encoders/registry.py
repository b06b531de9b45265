"""Load plugins, keep their backends, and ask them. One plugin never stops another.

There is no global registry: who needs one loads one. What a plugin does wrong, when it is loaded
or later, is collected in `Registry.errors` and goes no further.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import attrs

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability, Diagnosis, PluginSummary
from ffcluster.core.profile import Profile
from ffcluster.encoders.backend import Backend, ProbeOutcome
from ffcluster.encoders.loading import LoadedPlugin, load_plugin, order, origin, shown
from ffcluster.encoders.neutral import fit
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.encoders.suitability import depth_lost, misfit, mismatch
from ffcluster.errors import FfclusterError, NoUsableEncoder, PluginError

ENTRY_POINT_GROUP = "ffcluster"
# Part of the core distribution, so it is there even where no metadata was installed.
_BUILT_IN = EntryPoint("software", "ffcluster.encoders.software", ENTRY_POINT_GROUP)
# A plugin that fails does so again and again; a person reads the first few.
_MOST_FAILURES = 64

_Answer = TypeVar("_Answer")


@attrs.frozen
class PluginInfo:
    """One plugin that is installed.

    Attributes:
        name: Its name in the entry-point group.
        distribution: The distribution that brought it, or "" when unknown.
        version: That distribution's version, or "" when unknown.
        backends: Names of its backends; () when it is switched off or failed.
        enabled: False when it was switched off by name or is not on the allowlist.
        error: Why it could not be loaded, or None.
    """

    name: str
    distribution: str = ""
    version: str = ""
    backends: tuple[str, ...] = ()
    enabled: bool = True
    error: PluginError | None = None


@attrs.define
class _Failures:
    """What plugins did wrong after they were loaded, each thing once."""

    kept: dict[tuple[str, str], PluginError] = attrs.field(factory=dict)

    def add(self, error: PluginError) -> None:
        if len(self.kept) < _MOST_FAILURES:
            self.kept.setdefault((error.plugin, error.message), error)


@attrs.frozen
class Registry:
    """The plugins that are installed, and the backends of those that work.

    Attributes:
        plugins: Every plugin that is installed, by name.
        backends: The backends of the plugins that work.
        warnings: Names that were to be disabled or allowed and that no plugin has.
    """

    plugins: tuple[PluginInfo, ...]
    backends: tuple[Backend, ...]
    warnings: tuple[str, ...] = ()
    _loaded: tuple[LoadedPlugin, ...] = ()
    _failures: _Failures = attrs.field(factory=_Failures, eq=False)

    @classmethod
    def load(cls, disabled: Collection[str] = (), allow: Collection[str] | None = None) -> Registry:
        """Load every plugin in the entry-point group `ffcluster`.

        Args:
            disabled: Names of plugins to leave out.
            allow: When given, only plugins with these names are loaded.
        """
        found = list(entry_points(group=ENTRY_POINT_GROUP))
        if not any(point.name == _BUILT_IN.name for point in found):
            found.append(_BUILT_IN)
        return cls.of(found, disabled, allow)

    @classmethod
    def of(
        cls,
        points: Iterable[EntryPoint],
        disabled: Collection[str] = (),
        allow: Collection[str] | None = None,
    ) -> Registry:
        """Load exactly `points`, in the order of their names; see `load`."""
        plugins: list[PluginInfo] = []
        loaded: list[LoadedPlugin] = []
        for point in sorted(points, key=order):
            distribution, version = origin(point)
            info = PluginInfo(point.name, distribution, version)
            if point.name in disabled or (allow is not None and point.name not in allow):
                plugins.append(attrs.evolve(info, enabled=False))
                continue
            try:
                plugin = load_plugin(point, loaded)
            except PluginError as error:
                plugins.append(attrs.evolve(info, error=error))
                continue
            loaded.append(plugin)
            plugins.append(attrs.evolve(info, backends=tuple(b.name for b in plugin.backends)))
        names = {plugin.name for plugin in plugins}
        return cls(
            plugins=tuple(plugins),
            backends=tuple(backend for plugin in loaded for backend in plugin.backends),
            warnings=(*_unknown(disabled, names, "disabled"), *_unknown(allow, names, "allowed")),
            loaded=tuple(loaded),
        )

    @property
    def errors(self) -> tuple[PluginError, ...]:
        """What plugins did wrong: could not be loaded, or failed since. Bounded."""
        at_load = [plugin.error for plugin in self.plugins if plugin.error]
        return (*at_load, *self._failures.kept.values())

    @property
    def summaries(self) -> tuple[PluginSummary, ...]:
        """Every plugin that is installed as the coordinator and a person see it."""
        wrong = {error.plugin: error.message for error in reversed(self.errors)}
        return tuple(
            PluginSummary(
                name=plugin.name,
                distribution=plugin.distribution,
                version=plugin.version,
                backends=plugin.backends,
                enabled=plugin.enabled,
                error=plugin.error.message if plugin.error else wrong.get(plugin.name, ""),
            )
            for plugin in self.plugins
        )

    @property
    def schemas(self) -> dict[str, EncoderSchema]:
        """Every encoder that a loaded plugin knows, by ffmpeg's name; software encoders first."""
        ordered = sorted(self.backends, key=lambda backend: backend.name != _BUILT_IN.name)
        return {s.encoder: s for backend in ordered for s in backend.schemas}

    def backend(self, name: str) -> Backend:
        """The backend called `name`.

        Raises:
            NoUsableEncoder: No loaded plugin has it.
        """
        found = self._find(name)
        if found is None:
            raise NoUsableEncoder(
                message=f"there is no backend {name!r} here",
                advice=f"install ffcluster-plugin-{name}, or enable it",
            )
        return found

    def schema(self, capability: Capability) -> EncoderSchema | None:
        """Settings of `capability`'s encoder; None where no loaded plugin knows it."""
        backend = self._find(capability.backend)
        own = backend.schemas if backend else ()
        found = next((s for s in own if s.encoder == capability.encoder), None)
        return found or self.schemas.get(capability.encoder)

    def fitted(self, capability: Capability, profile: Profile) -> Profile:
        """`profile` on `capability`'s own scales, pinned to its encoder; see `neutral.fit`.

        Where no loaded plugin knows the encoder, the profile stays as it is: the worker, which
        has the plugin, fits it.

        Raises:
            UnsupportedOption: Something in it cannot be carried over to this encoder.
        """
        schema = self.schema(capability)
        if schema is None:
            return profile
        pinned = self.schemas.get(profile.encoder) if profile.encoder else None
        return fit(profile, schema, pinned)

    def refusal(
        self, capability: Capability, profile: Profile, video: VideoFormat | None = None
    ) -> str | None:
        """Why `capability` cannot do `profile` (for this source), or None when it can.

        A profile that pins another encoder is refused; whoever lets this one stand in for it
        passes what `fitted` gives. Backends that are not loaded here (a worker may have more
        plugins) are judged by their capability alone.
        """
        if profile.encoder is not None and capability.encoder != profile.encoder:
            return f"{profile.encoder} is asked for"
        if capability.codec is not profile.codec:
            return f"writes {capability.codec}, not {profile.codec}"
        schema = self.schema(capability)
        try:
            fitted = self.fitted(capability, profile)
            reason = mismatch(capability, fitted) or misfit(capability, fitted, video)
            if reason is None and schema is not None:
                schema.check(fitted)
        except FfclusterError as error:
            return str(error)
        if reason or video is None:
            return reason
        if (lost := depth_lost(capability, profile, video)) is not None:
            return lost
        return self._own_veto(capability, fitted, video) or self._veto(capability, fitted, video)

    def rank(self, capability: Capability, profile: Profile) -> int:
        """How well `capability` suits `profile`; higher is better. See `hookspecs`."""
        try:
            profile = self.fitted(capability, profile)
        except FfclusterError:
            return -1
        backend = self._find(capability.backend)
        rank: int | None = capability.rank
        if backend is not None:
            ask = partial(backend.rank, capability, profile)
            # What cannot even rank itself is used when there is nothing else.
            rank = self._ask(self.owner(backend), f"{backend.name}.rank", ask, (int,), -1)
        result = -1 if rank is None else rank
        for plugin in self._loaded:
            ask = partial(
                _hook, plugin, "ffcluster_rank", capability=capability, profile=profile, rank=result
            )
            changed = self._ask(plugin.name, "ffcluster_rank", ask, (int, type(None)), None)
            result = result if changed is None else changed
        return result

    def why_none(
        self,
        profile: Profile,
        capabilities: Iterable[Capability],
        video: VideoFormat | None = None,
    ) -> NoUsableEncoder:
        """Say of `capabilities`, none of which can do `profile`, what each lacks.

        Where the profile pins an encoder, the others are only named.
        """
        offered = list(dict.fromkeys(capabilities))
        reasons: dict[str, str] = {}
        for capability in offered:
            if profile.encoder in (None, capability.encoder):
                reason = self.refusal(capability, profile, video)
                reasons.setdefault(capability.encoder, reason or "is in use or was tried in vain")
        found = "; ".join(f"{encoder} {reason}" for encoder, reason in sorted(reasons.items()))
        if not found:
            # The pinned encoder is nowhere: why each of the others is not it would say nothing.
            found = ", ".join(sorted({c.encoder for c in offered}))
        wanted = profile.encoder or f"{profile.codec} with {profile.rate.mode}"
        return NoUsableEncoder(
            message=f"no worker can encode {wanted}",
            advice=(f"there is: {found}" if found else "no worker offers any encoder")
            + ". `ffcluster doctor` on a worker says what it has and why not more.",
            detail={"refused": reasons},
        )

    def joins(self, one: Capability, other: Capability, profile: Profile) -> bool | None:
        """Whether what both write may stand under one header: False of any wins over True.

        None: nobody has an opinion, so equal parameter sets decide.
        """
        opinions: list[bool | None] = []
        allowed = (bool, type(None))
        for name in dict.fromkeys((one.backend, other.backend)):
            backend = self._find(name)
            if backend is not None:
                ask = partial(backend.joins, one, other, profile)
                what = f"{backend.name}.joins"
                opinions.append(self._ask(self.owner(backend), what, ask, allowed, None))
        for plugin in self._loaded:
            hook = partial(_hook, plugin, "ffcluster_joins", one=one, other=other, profile=profile)
            opinions.append(self._ask(plugin.name, "ffcluster_joins", hook, allowed, None))
        return False if False in opinions else True if True in opinions else None

    def explain(self, capability: Capability, outcome: ProbeOutcome) -> Diagnosis | None:
        """Why a command that used `capability` failed, as its backend sees it; None: unknown."""
        backend = self._find(capability.backend)
        if backend is None:
            return None
        ask = partial(backend.explain, capability, outcome)
        allowed = (Diagnosis, type(None))
        return self._ask(self.owner(backend), f"{backend.name}.explain", ask, allowed, None)

    def owner(self, backend: Backend) -> str:
        """Name of the plugin that brought `backend`; the backend's own where no plugin did."""
        owners = (p.name for p in self._loaded if any(b is backend for b in p.backends))
        return next(owners, backend.name)

    def note(self, error: PluginError) -> None:
        """Keep what a plugin did wrong where it was asked by others than this registry."""
        self._failures.add(error)

    def _find(self, name: str) -> Backend | None:
        return next((b for b in self.backends if b.name == name), None)

    def _own_veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        backend = self._find(capability.backend)
        if backend is None:
            return None

        def ask() -> str | None:
            try:
                return backend.veto(capability, profile, video)
            except FfclusterError as error:
                return str(error)

        # Nobody else knows whether it can: when in doubt, it is not used.
        doubt: str | None = f"the plugin {self.owner(backend)} failed when it was asked"
        what = f"{backend.name}.veto"
        return self._ask(self.owner(backend), what, ask, (str, type(None)), doubt)

    def _veto(self, capability: Capability, profile: Profile, video: VideoFormat) -> str | None:
        for plugin in self._loaded:
            ask = partial(
                _hook,
                plugin,
                "ffcluster_veto",
                capability=capability,
                profile=profile,
                video=video,
            )
            reason = self._ask(plugin.name, "ffcluster_veto", ask, (str, type(None)), None)
            if reason:
                return f"{reason} (says the plugin {plugin.name})"
        return None

    def _ask(
        self,
        plugin: str,
        what: str,
        ask: Callable[[], _Answer],
        allowed: tuple[type, ...],
        otherwise: _Answer,
    ) -> _Answer:
        """The answer of `ask`, or `otherwise` when it raises or answers with something else."""
        try:
            answer = ask()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            self._failures.add(_failure(plugin, what, f"{type(error).__name__}: {error}"))
            return otherwise
        # True is an int to Python, and no rank.
        if not isinstance(answer, allowed) or (isinstance(answer, bool) and bool not in allowed):
            self._failures.add(_failure(plugin, what, f"it answered {shown(answer)}"))
            return otherwise
        return answer


def _hook(plugin: LoadedPlugin, name: str, **arguments: Any) -> Any:
    answers = getattr(plugin.hooks, name)(**arguments)
    return answers[0] if answers else None


def _failure(plugin: str, what: str, reason: str) -> PluginError:
    return PluginError(
        message=f"the plugin {plugin} failed in {what}: {reason[:300]}",
        advice=f"update it, or switch it off by its name {plugin!r}",
        plugin=plugin,
    )


def _unknown(given: Collection[str] | None, names: Collection[str], what: str) -> list[str]:
    warnings = []
    for name in sorted(set(given or ()) - set(names)):
        near = difflib.get_close_matches(name, sorted(names), n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        warnings.append(f"no plugin is called {name!r}, which is to be {what}{hint}")
    return warnings
