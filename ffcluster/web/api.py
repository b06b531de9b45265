"""All routes of the REST API together, and where they are mounted on the coordinator's port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.web.resource import IResource, Resource

from ffcluster.net.access import Scope
from ffcluster.web.catalogue import catalogue_routes
from ffcluster.web.desk import Desk
from ffcluster.web.jobs import job_routes
from ffcluster.web.openapi import document
from ffcluster.web.plan import plan_routes
from ffcluster.web.resource import ApiResource
from ffcluster.web.routing import PREFIX, Answer, Call, Route
from ffcluster.web.static_files import StaticFiles, mount_pages, page
from ffcluster.web.status import status_routes
from ffcluster.web.uploads import upload_routes
from ffcluster.web.workers import worker_routes

_DOCS = "docs/index.html"


def desk_routes(desk: Desk, reactor: Any) -> tuple[Route, ...]:
    """The routes that the desk answers."""
    return (
        *status_routes(desk),
        *job_routes(desk, reactor),
        *plan_routes(desk),
        *upload_routes(desk),
        *worker_routes(desk, reactor),
        *catalogue_routes(desk),
    )


def mount(root: Resource, routes: Sequence[Route], files: StaticFiles, reactor: Any) -> None:
    """Put the API at its prefix, its documentation beside it, and the dashboard at `/`.

    Args:
        root: What the port shows.
        routes: All routes; the one of the document is added.
        files: The static files.
        reactor: Twisted's reactor.
    """
    api = Resource()
    version = _Version(ApiResource(reactor, (*routes, _document_route(routes))))
    version.putChild(b"docs", page(files, _DOCS))
    api.putChild(b"v1", version)
    root.putChild(b"api", api)
    mount_pages(root, files)


class _Version(Resource):
    """`/api/v1`: what is no child of its own is a route."""

    def __init__(self, routes: ApiResource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._routes = routes

    def getChild(self, path: bytes, request: Any) -> IResource:
        return self._routes

    def render(self, request: Any) -> Any:
        return self._routes.render(request)


def _document_route(routes: Sequence[Route]) -> Route:
    """The route of the document that describes all others and itself."""

    async def serve(call: Call) -> Answer:
        return Answer(text)

    route = Route(
        method="GET",
        path="/openapi.json",
        name="show_document",
        summary="Describe this API as OpenAPI 3.1.",
        tag="cluster",
        scope=Scope.VIEWER,
        serve=serve,
    )
    text = document((*routes, route), PREFIX)
    return route
