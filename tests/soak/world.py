"""What lasts for the whole of a soak test: the backends, and a portal and a runner for each; and what actions are."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, final

from asyncgen_tools import Portal
from asyncgen_tools.testing import installed_backends
from tests.soak.measures import Complaints

if TYPE_CHECKING:
    from random import Random

    from asyncgen_tools import Runner, SyncGenerator
    from asyncgen_tools.testing import Backend
    from tests.soak.sources import Source

__all__ = ("Action", "World")


class Action(Protocol):
    """One piece of traffic: it leaves nothing open, and raises if a result is wrong."""

    __name__: str

    def __call__(self, world: World, rng: Random, backend: Backend, /) -> None:
        """Do it."""


@final
class World:
    """Where actions happen.

    Attributes:
        backends: all that are installed, `bare` included.
        loops: those with an event loop.
        portals: one for each of `loops`, by the name of its row.
        runners: one for each of `backends`; the main thread's.
    """

    def __init__(self) -> None:
        self.complaints = Complaints()
        self.complaints.listen()
        self.backends: tuple[Backend, ...] = installed_backends("asyncio", "uvloop", "trio", "bare")
        self.loops: tuple[Backend, ...] = self.backends[:-1]
        self.portals: dict[str, Portal] = {row.id: self.portal(row) for row in self.loops}
        self.runners: dict[str, Runner] = {row.id: row.runner() for row in self.backends}

    def portal(self, backend: Backend) -> Portal:
        """A new portal, which the caller closes."""
        return Portal(backend=backend.name, backend_options=backend.options)

    def shared(self, backend: Backend) -> Portal:
        """The process's portal."""
        return Portal.shared(backend.name, backend_options=backend.options)

    def drive(self, rng: Random, source: Source, *, timeout: float | None = None) -> SyncGenerator[int, Any, Any]:
        """Drive a source in one of the ways that any thread may use."""
        backend = source.backend
        if backend.name == "bare" or rng.random() < 0.5:
            return backend.drive(source(), timeout=timeout)
        portal = self.portals[backend.id] if rng.random() < 0.8 else self.shared(backend)
        return portal.drive(source(), timeout=timeout, prefetch=rng.choice((0, 0, 1, 2, 8)))

    def tasks(self) -> dict[str, int]:
        """How many tasks each loop has; what was left for a loop's next use is done by that."""
        assert self.runners["bare"].run(count_tasks, self.backends[-1]) == 0
        found: dict[str, int] = {}
        for backend in self.loops:
            found[f"tasks of the runner, {backend.id}"] = self.runners[backend.id].run(count_tasks, backend)
            found[f"tasks of the portal, {backend.id}"] = self.portals[backend.id].run(count_tasks, backend)
            found[f"tasks of the shared portal, {backend.id}"] = self.shared(backend).run(count_tasks, backend)
        return found

    def close(self) -> None:
        """End what lasted."""
        with ExitStack() as stack:
            for driver in (*self.portals.values(), *self.runners.values(), *map(self.shared, self.loops)):
                stack.callback(driver.close)


async def count_tasks(backend: Backend) -> int:
    """How many tasks live in this loop."""
    if backend.name == "bare":
        return 0
    if backend.name == "trio":
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())
