"""Faults of lines: R4 partitions of every kind and length, R6 messages doubled and out of order,
R8 uploads that arrive changed or torn.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos import network
from tests.chaos.layout import Layout
from tests.chaos.network import Namespace
from tests.chaos.processes import sleep
from tests.chaos.proxy import Orders, Proxy
from tests.chaos.rig import LEASE_S
from tests.chaos.run import Fault, Run, Scenario

_PROXIED = Layout(proxied=True)
_NAMESPACED = Layout(namespaced=True)


# --- R4: partitions ------------------------------------------------------------------------------


def _stalled(seconds: float, *, up: bool = True, down: bool = True) -> Fault:
    async def fault(run: Run) -> None:
        proxy = run.rig.proxies[run.pick()]
        await run.moment(high=0.7)
        proxy.stall(up=up, down=down)
        await sleep(seconds)
        proxy.heal()

    return fault


def _torn(seconds: float) -> Fault:
    async def fault(run: Run) -> None:
        proxy = run.rig.proxies[run.pick()]
        await run.moment(high=0.7)
        proxy.orders.refusing = True
        proxy.cut()
        await sleep(seconds)
        proxy.heal()

    return fault


async def _flapping(run: Run) -> None:
    proxy = run.rig.proxies[run.pick()]
    await run.moment(high=0.3)
    for _ in range(6):
        if run.chance.random() < 0.5:
            proxy.cut()
        proxy.stall()
        await sleep(run.chance.uniform(0.1, 1.5))
        proxy.heal()
        await sleep(run.chance.uniform(0.1, 1.0))


def _all_stalled(seconds: float) -> Fault:
    """The coordinator alone on its side."""

    async def fault(run: Run) -> None:
        await run.moment(high=0.7)
        for proxy in run.rig.proxies.values():
            proxy.stall()
        await sleep(seconds)
        for proxy in run.rig.proxies.values():
            proxy.heal()

    return fault


def _link(seconds: float, hurt: Callable[[Namespace], None]) -> Fault:
    async def fault(run: Run) -> None:
        namespace = run.rig.namespaces[run.pick()]
        await run.moment(high=0.7)
        hurt(namespace)
        await sleep(seconds)
        namespace.heal()

    return fault


async def _flapping_link(run: Run) -> None:
    namespace = run.rig.namespaces[run.pick()]
    await run.moment(high=0.3)
    for _ in range(5):
        namespace.cut()
        await sleep(run.chance.uniform(0.1, 1.5))
        namespace.heal()
        await sleep(run.chance.uniform(0.1, 1.0))


# --- R6: messages --------------------------------------------------------------------------------


def _messages(*, repeat: float = 0.0, swap: float = 0.0, replay: float = 0.0) -> Fault:
    async def fault(run: Run) -> None:
        for proxy in run.rig.proxies.values():
            orders = proxy.orders
            orders.chance = run.chance
            orders.repeat, orders.swap, orders.replay = repeat, swap, replay
        await run.committed(99)
        for name, proxy in run.rig.proxies.items():
            passed = proxy.passed
            run.facts[name] = [passed.repeated, passed.swapped, passed.replayed]

    return fault


# --- R8: uploads ---------------------------------------------------------------------------------


def _uploads(spoil: Callable[[Orders], None], count: Callable[[Proxy], int]) -> Fault:
    async def fault(run: Run) -> None:
        proxy = run.rig.proxies[run.pick()]
        before = count(proxy)
        proxy.orders.chance = run.chance
        await run.moment(high=0.5)
        spoil(proxy.orders)
        await run.committed(99)
        run.facts["spoiled"] = count(proxy) - before
        if not run.facts["spoiled"]:
            run.missed()

    return fault


def _flip(orders: Orders) -> None:
    orders.flip = 2


def _truncate(orders: Orders) -> None:
    orders.truncate = 2


SCENARIOS = [
    *(
        Scenario("R4", f"link cut for {seconds:g} s", _link(seconds, Namespace.cut),
                 layout=_NAMESPACED, unfit=network.available)
        for seconds in (1.0, LEASE_S / 2, LEASE_S * 1.5, LEASE_S * 10)
    ),
    Scenario("R4", "link deaf for 2 leases", _link(LEASE_S * 2, Namespace.deafen),
             layout=_NAMESPACED, unfit=network.available),
    Scenario("R4", "link dumb for 2 leases", _link(LEASE_S * 2, Namespace.silence),
             layout=_NAMESPACED, unfit=network.available),
    Scenario("R4", "link flaps", _flapping_link, layout=_NAMESPACED, unfit=network.available),
    *(
        Scenario("R4", f"stalled for {seconds:g} s", _stalled(seconds), layout=_PROXIED)
        for seconds in (1.0, LEASE_S / 2, LEASE_S * 1.5, LEASE_S * 3)
    ),
    Scenario("R4", "nothing arrives for 2 leases", _stalled(LEASE_S * 2, up=False),
             layout=_PROXIED),
    Scenario("R4", "nothing gets out for 2 leases", _stalled(LEASE_S * 2, down=False),
             layout=_PROXIED),
    *(
        Scenario("R4", f"torn and refused for {seconds:g} s", _torn(seconds), layout=_PROXIED)
        for seconds in (0.0, 1.0, LEASE_S * 1.5)
    ),
    Scenario("R4", "flapping", _flapping, layout=_PROXIED),
    *(
        Scenario("R4", f"all stalled for {seconds:g} s", _all_stalled(seconds), layout=_PROXIED)
        for seconds in (1.0, LEASE_S * 1.5)
    ),
    Scenario("R6", "repeated", _messages(repeat=0.5), layout=_PROXIED),
    Scenario("R6", "out of order", _messages(swap=0.3), layout=_PROXIED),
    Scenario("R6", "replayed", _messages(replay=0.5), layout=_PROXIED),
    Scenario("R6", "all of it", _messages(repeat=0.3, swap=0.2, replay=0.3), layout=_PROXIED),
    Scenario("R8", "flipped upload", _uploads(_flip, lambda p: p.passed.flipped),
             layout=_PROXIED),
    Scenario("R8", "truncated upload", _uploads(_truncate, lambda p: p.passed.truncated),
             layout=_PROXIED),
]  # fmt: skip
