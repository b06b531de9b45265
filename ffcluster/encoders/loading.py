"""Load one plugin and look at what it offers. Keeps nothing, and asks its backends nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import attrs
import pluggy

from ffcluster.encoders import hookspecs
from ffcluster.encoders.backend import API_VERSION, Backend
from ffcluster.encoders.schema import EncoderSchema
from ffcluster.errors import PluginError

_CORE_DISTRIBUTION = "ffcluster"
_MEMBERS = tuple(name for name in vars(Backend) if not name.startswith("_"))


@attrs.frozen
class LoadedPlugin:
    """A plugin that works.

    Attributes:
        name: Its name in the entry-point group.
        hooks: Through which it is asked.
        backends: Its backends.
    """

    name: str
    hooks: pluggy.HookRelay
    backends: tuple[Backend, ...]


def load_plugin(point: EntryPoint, others: Sequence[LoadedPlugin]) -> LoadedPlugin:
    """Load one plugin and ask it for its backends.

    Raises:
        PluginError: It raised, or gave something that is no backend.
    """
    if any(other.name == point.name for other in others):
        raise PluginError(
            message=f"a second plugin is called {point.name!r}: it is left out",
            advice="uninstall one of the two distributions",
            plugin=point.name,
        )
    try:
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(point.load(), name=point.name)
        manager.check_pending()
        answers: list[Sequence[Any]] = manager.hook.ffcluster_backends()
        taken = {backend.name for other in others for backend in other.backends}
        accepted: list[Backend] = []
        for backend in (backend for answer in answers for backend in answer):
            accepted.append(_accepted(point.name, backend, taken))
            taken.add(accepted[-1].name)
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            message=f"the plugin {point.name} could not be loaded: {type(error).__name__}: {error}",
            advice=f"update or uninstall it, or switch it off by its name {point.name!r}",
            plugin=point.name,
        ) from error
    if not accepted and not manager.get_hookcallers(manager.get_plugin(point.name)):
        raise PluginError(
            message=f"the plugin {point.name} implements no hook",
            advice="its entry point must name the module in which the hooks are",
            plugin=point.name,
        )
    return LoadedPlugin(point.name, manager.hook, tuple(accepted))


def _accepted(plugin: str, backend: Any, taken: Collection[str]) -> Backend:
    problem, advice = _problem(backend, taken)
    if problem:
        raise PluginError(
            message=f"the plugin {plugin} {problem}",
            advice=advice or f"update or uninstall it, or switch it off by its name {plugin!r}",
            plugin=plugin,
        )
    accepted: Backend = backend
    return accepted


def _problem(backend: Any, taken: Collection[str]) -> tuple[str, str]:
    """(what is wrong with a backend, what helps); ("", "") when nothing is."""
    if isinstance(backend, type):
        return f"offers the class {backend.__name__} instead of an object of it", ""
    version = getattr(backend, "api_version", API_VERSION)
    if version != API_VERSION:
        newer = isinstance(version, int) and version > API_VERSION
        return (
            f"was written for version {version} of the plugin API, and this ffcluster has "
            f"version {API_VERSION}",
            "update ffcluster" if newer else "update the plugin",
        )
    lacking = [name for name in _MEMBERS if not hasattr(backend, name)]
    if lacking:
        return f"offers {shown(backend)}, which is no backend: it has no {', '.join(lacking)}", ""
    if not isinstance(backend.name, str) or not backend.name:
        return f"offers a backend with the name {shown(backend.name)}", ""
    if backend.name in taken:
        return f"offers a second backend called {backend.name!r}", ""
    wrong = next((s for s in backend.schemas if not isinstance(s, EncoderSchema)), None)
    if wrong is not None:
        return f"gives {shown(wrong)} where an EncoderSchema is needed", ""
    return "", ""


def order(point: EntryPoint) -> tuple[str, bool, str]:
    """Sort by name; of two plugins with one name the core's own is the one that is meant."""
    distribution, _ = origin(point)
    return point.name, distribution != _CORE_DISTRIBUTION, distribution


def origin(point: EntryPoint) -> tuple[str, str]:
    """(distribution, version) that brought a plugin, each "" when unknown."""
    return (point.dist.name, point.dist.version) if point.dist else ("", "")


def shown(value: object) -> str:
    """What a plugin gave, short enough for a message."""
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001 - a plugin's object may raise anything
        return f"an object of type {type(value).__name__}"
