"""The routes of what the coordinator was set to: profiles and plugins."""

from __future__ import annotations

from typing import Any

from ffcluster.core.profile import Profile
from ffcluster.errors import Code, NotFound
from ffcluster.net.access import Scope
from ffcluster.web.desk import CatalogueDesk
from ffcluster.web.models.catalogue import NamedProfile, PluginPage, ProfilePage
from ffcluster.web.routing import Answer, Call, Route
from ffcluster.web.showing import etag_of


def catalogue_routes(desk: CatalogueDesk) -> tuple[Route, ...]:
    """The routes `/profiles` and `/plugins`."""
    common: dict[str, Any] = {"method": "GET", "tag": "catalogue", "scope": Scope.VIEWER}

    async def profiles(call: Call) -> Answer:
        return Answer(ProfilePage(_named(desk)))

    async def profile(call: Call) -> Answer:
        name = call.path["name"]
        found = next((one for one in _named(desk) if one.name == name), None)
        if found is None:
            raise NotFound(
                message=f"There is no profile {name[:80]}.",
                advice="Profiles are [profile.NAME] tables in the coordinator's --config file.",
            )
        return Answer(found, etag=found.etag)

    async def plugins(call: Call) -> Answer:
        return Answer(PluginPage(desk.plugins()))

    return (
        Route(
            path="/profiles",
            name="list_profiles",
            summary="List the coordinator's profiles.",
            serve=profiles,
            response=ProfilePage,
            **common,
        ),
        Route(
            path="/profiles/{name}",
            name="show_profile",
            summary="Show a profile.",
            serve=profile,
            response=NamedProfile,
            problems=(Code.NOT_FOUND,),
            **common,
        ),
        Route(
            path="/plugins",
            name="list_plugins",
            summary="List the plugins of the coordinator.",
            serve=plugins,
            response=PluginPage,
            **common,
        ),
    )


def _named(desk: CatalogueDesk) -> tuple[NamedProfile, ...]:
    """All profiles by name."""
    usual = desk.default_profile()
    return tuple(_resource(name, one, usual) for name, one in sorted(desk.profiles().items()))


def _resource(name: str, profile: Profile, usual: Profile | None) -> NamedProfile:
    return NamedProfile(name, profile == usual, profile, etag_of(name, profile))
