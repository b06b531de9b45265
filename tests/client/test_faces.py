"""The three faces are one client: the same methods, the same parameters, one description."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from ffcluster import client
from ffcluster.client import AsyncClient, Client, DeferredClient
from ffcluster.net.client import CoordinatorClient

FACES = (Client, AsyncClient)


def methods(face: type[Any]) -> dict[str, Callable[..., Any]]:
    """What can be asked through a face."""
    return {
        name: found
        for name, found in inspect.getmembers(face, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("face", FACES)
def test_faces_have_the_methods_of_the_core(face: type[Any]) -> None:
    assert list(methods(face)) == list(methods(DeferredClient))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", sorted(methods(DeferredClient)))
def test_faces_take_what_the_core_takes_and_say_the_same_of_it(face: type[Any], name: str) -> None:
    ours, its = methods(DeferredClient)[name], methods(face)[name]
    assert inspect.signature(its) == inspect.signature(ours)
    if name != "close":
        assert its.__doc__ == ours.__doc__
    assert its.__doc__


@pytest.mark.parametrize("face", FACES)
def test_faces_are_made_alike(face: type[Any]) -> None:
    whole = list(inspect.signature(DeferredClient).parameters.values())
    assert list(inspect.signature(face).parameters.values()) == whole[1:]


def test_everything_that_the_control_channel_can_do_is_there() -> None:
    # `connect` opens a session and `submit` takes a request: here that is `open` and `request`.
    wanted = set(methods(CoordinatorClient)) - {"connect"}
    assert wanted <= set(methods(DeferredClient))


def test_public_names_are_there_and_no_others() -> None:
    assert client.__all__ == sorted(client.__all__, key=lambda n: (not n.isupper(), n))
    assert all(hasattr(client, name) for name in client.__all__)
