"""Load plugins, keep their backends, and choose among capabilities. One plugin never stops another.

There is no global registry: who needs one loads one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from ffcluster.core.media import VideoFormat
from ffcluster.core.model import Capability
from ffcluster.core.profile import Profile
from ffcluster.encoders import hookspecs
from ffcluster.encoders.backend import API_VERSION, Backend
from ffcluster.encoders.pixfmt import describe
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.errors import FfclusterError, NoUsableEncoder, PluginError

ENTRY_POINT_GROUP = "ffcluster"
# Part of the core distribution, so it is there even where no metadata was installed.
_BUILT_IN = EntryPoint("software", "ffcluster.encoders.software", ENTRY_POINT_GROUP)


@attrs.frozen
class PluginInfo:
    """One plugin that is installed.

    Attributes:
        name: Its name in the entry-point group.
        distribution: The distribution that brought it, or "" when unknown.
        version: That distribution's version, or "" when unknown.
        backends: Names of its backends; () when it is switched off or failed.
        enabled: False when it was switched off by name or is not on the allowlist.
        error: Why it failed, or None.
    """

    name: str
    distribution: str = ""
    version: str = ""
    backends: tuple[str, ...] = ()
    enabled: bool = True
    error: PluginError | None = None


@attrs.frozen
class Registry:
    """The plugins that are installed, and the backends of those that work."""

    plugins: tuple[PluginInfo, ...]
    backends: tuple[Backend, ...]

    @classmethod
    def load(cls, disabled: Collection[str] = (), allow: Collection[str] | None = None) -> Registry:
        """Load every plugin in the entry-point group `ffcluster`.

        Args:
            disabled: Names of plugins to leave out.
            allow: When given, only plugins with these names are loaded.
        """
        found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
        found.setdefault(_BUILT_IN.name, _BUILT_IN)
        return cls.of(found.values(), disabled, allow)

    @classmethod
    def of(
        cls,
        points: Iterable[EntryPoint],
        disabled: Collection[str] = (),
        allow: Collection[str] | None = None,
    ) -> Registry:
        """Load exactly `points`, in the order of their names; see `load`."""
        plugins: list[PluginInfo] = []
        backends: list[Backend] = []
        for point in sorted(points, key=lambda p: p.name):
            distribution = point.dist.name if point.dist else ""
            version = point.dist.version if point.dist else ""
            info = PluginInfo(point.name, distribution, version)
            if point.name in disabled or (allow is not None and point.name not in allow):
                plugins.append(attrs.evolve(info, enabled=False))
                continue
            try:
                offered = _backends_of(point, {b.name for b in backends})
            except PluginError as error:
                plugins.append(attrs.evolve(info, error=error))
                continue
            backends.extend(offered)
            plugins.append(attrs.evolve(info, backends=tuple(b.name for b in offered)))
        return cls(tuple(plugins), tuple(backends))

    @property
    def errors(self) -> tuple[PluginError, ...]:
        """Why plugins failed to load."""
        return tuple(plugin.error for plugin in self.plugins if plugin.error)

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
        for backend in self.backends:
            if backend.name == name:
                return backend
        raise NoUsableEncoder(
            message=f"there is no backend {name!r} here",
            advice=f"install ffcluster-plugin-{name}, or enable it",
        )

    def choose(
        self,
        profile: Profile,
        capabilities: Iterable[Capability],
        video: VideoFormat | None = None,
    ) -> Capability:
        """The capability that suits `profile` best: the pinned encoder, or else the best rank.

        Backends that are not loaded here (a worker may have more plugins) are judged by their
        capability alone.

        Raises:
            NoUsableEncoder: None can do it; the message says what there is and what is missing.
        """
        usable: list[Capability] = []
        reasons: dict[str, str] = {}
        offered = list(dict.fromkeys(capabilities))
        for capability in offered:
            reason = self.refusal(capability, profile, video)
            if reason is None:
                usable.append(capability)
            else:
                reasons.setdefault(capability.encoder, reason)
        if usable:
            return max(usable, key=lambda c: self._rank(c, profile))
        raise _nothing_usable(profile, reasons)

    def refusal(
        self, capability: Capability, profile: Profile, video: VideoFormat | None = None
    ) -> str | None:
        """Why `capability` cannot do `profile` (for this source), or None when it can."""
        reason = _mismatch(capability, profile) or _misfit(capability, profile, video)
        backend = next((b for b in self.backends if b.name == capability.backend), None)
        if reason or backend is None:
            return reason
        schema = next((s for s in backend.schemas if s.encoder == capability.encoder), None)
        try:
            if schema is not None:
                schema.check(profile)
            return backend.veto(capability, profile, video) if video else None
        except FfclusterError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            return f"the plugin {backend.name} failed: {type(error).__name__}: {error}"

    def _rank(self, capability: Capability, profile: Profile) -> int:
        for backend in self.backends:
            if backend.name == capability.backend:
                try:
                    return int(backend.rank(capability, profile))
                except Exception:  # noqa: BLE001 - a plugin may raise anything
                    return -1
        return capability.rank


def _backends_of(point: EntryPoint, taken: Collection[str]) -> list[Backend]:
    """Load one plugin and ask it for its backends.

    Raises:
        PluginError: It raised, or gave something that is no backend.
    """
    try:
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(point.load(), name=point.name)
        manager.check_pending()
        answers: list[Sequence[Any]] = manager.hook.ffcluster_backends()
        offered = [backend for answer in answers for backend in answer]
        return [_accepted(point.name, backend, taken) for backend in offered]
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            message=f"the plugin {point.name} could not be loaded: {type(error).__name__}: {error}",
            advice=f"update or uninstall it, or switch it off by its name {point.name!r}",
            plugin=point.name,
        ) from error


def _accepted(plugin: str, backend: Any, taken: Collection[str]) -> Backend:
    problem = ""
    if not isinstance(backend, Backend):
        problem = f"offers {backend!r}, which is no backend"
    elif backend.api_version != API_VERSION:
        problem = f"was written for version {backend.api_version} of the API, not {API_VERSION}"
    elif backend.name in taken:
        problem = f"offers a second backend called {backend.name!r}"
    if problem:
        raise PluginError(message=f"the plugin {plugin} {problem}", plugin=plugin)
    accepted: Backend = backend
    return accepted


def _mismatch(capability: Capability, profile: Profile) -> str | None:
    if profile.encoder is not None and capability.encoder != profile.encoder:
        return f"{profile.encoder} is asked for"
    if capability.codec is not profile.codec:
        return f"writes {capability.codec}, not {profile.codec}"
    if profile.rate.mode not in capability.rate_modes:
        return f"cannot do {profile.rate.mode}"
    if profile.preset is not None and profile.preset not in capability.presets:
        return f"has no preset {profile.preset!r}"
    return None


def _misfit(capability: Capability, profile: Profile, video: VideoFormat | None) -> str | None:
    wanted = describe(profile.pix_fmt) if profile.pix_fmt else None
    depth = profile.bit_depth or (wanted.depth if wanted else None)
    if depth is not None and depth not in capability.bit_depths:
        return f"cannot write {depth} bits per sample"
    if video is None or profile.filters:
        return None
    width, height = video.width, video.height
    if width < capability.min_size[0] or height < capability.min_size[1]:
        return f"cannot encode less than {capability.min_size[0]}x{capability.min_size[1]}"
    if capability.max_size != (0, 0) and (
        width > capability.max_size[0] or height > capability.max_size[1]
    ):
        return f"cannot encode more than {capability.max_size[0]}x{capability.max_size[1]}"
    return None


def _nothing_usable(profile: Profile, reasons: dict[str, str]) -> NoUsableEncoder:
    wanted = profile.encoder or f"{profile.codec} with {profile.rate.mode}"
    found = "; ".join(f"{encoder} {reason}" for encoder, reason in sorted(reasons.items()))
    return NoUsableEncoder(
        message=f"no worker can encode {wanted}",
        advice=(f"there is: {found}" if found else "no worker offers any encoder")
        + ". `ffcluster doctor` on a worker says what it has and why not more.",
        detail={"refused": reasons},
    )
