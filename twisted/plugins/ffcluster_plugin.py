"""Make `twistd ffcluster-server` and `twistd ffcluster-worker` known to Twisted."""

from twisted.application.service import ServiceMaker

server = ServiceMaker(
    "ffcluster-server",
    "ffcluster.interfaces.tap.Server",
    "Coordinate the encoding of films by many workers.",
    "ffcluster-server",
)

worker = ServiceMaker(
    "ffcluster-worker",
    "ffcluster.interfaces.tap.Worker",
    "Encode segments of films for a coordinator.",
    "ffcluster-worker",
)
