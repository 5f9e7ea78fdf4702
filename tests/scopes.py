"""Scopes that a generator may hold over a yield, by one name on every library, and what can be seen of a task."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast, final

import anyio

from asyncgen_tools import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from tests.conftest import Backend

    Start = Callable[[Callable[[], Coroutine[Any, Any, object]]], object]

__all__ = ("CountedLoop", "cancelling", "current_task", "kinds_in", "task_group")


def current_task(backend: Backend) -> Any:
    """The task that runs."""
    if backend.name == "trio":
        import trio

        return trio.lowlevel.current_task()
    return asyncio.current_task()


def cancelling(backend: Backend) -> int:
    """How many cancellation requests asyncio counts for the current task; trio counts none."""
    return 0 if backend.name == "trio" else int(current_task(backend).cancelling())


def kinds_in(error: object) -> set[type[BaseException]]:
    """The types of the exceptions in a group."""
    assert isinstance(error, BaseExceptionGroup)
    return {type(one) for one in cast("BaseExceptionGroup[BaseException]", error).exceptions}


@asynccontextmanager
async def task_group(backend: Backend, kind: str) -> AsyncGenerator[Start]:
    """Open a TaskGroup, a nursery, or anyio's task group.

    Args:
        backend: on which library.
        kind: "native" or "anyio".

    Yields:
        A function that starts an async function as a child.
    """
    if kind == "anyio":
        async with anyio.create_task_group() as group:
            yield group.start_soon
    elif backend.name == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            yield nursery.start_soon
    else:
        async with asyncio.TaskGroup() as tasks:
            yield lambda function: tasks.create_task(function())


@final
class CountedLoop:
    """A backend whose event loop counts what it has to do: callbacks on asyncio, task steps on trio."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._turns = 0

    def turns(self) -> int:
        """How much the loop has done by now."""
        return self._turns

    def runner(self) -> Runner:
        """A runner on such a loop."""
        return Runner(backend=self._backend.name, backend_options=self.options())

    def options(self) -> dict[str, Any]:
        """What makes such a loop of the backend."""
        if self._backend.name == "trio":
            return {"instruments": [self._instrument()]}
        return {"loop_factory": self._loop_class()}

    def _instrument(self) -> Any:
        import trio

        counted = self

        class Counter(trio.abc.Instrument):
            """Counts task steps."""

            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                """Count."""
                del task
                counted._turns += 1

        return Counter()

    def _loop_class(self) -> Any:
        base: Any = asyncio.SelectorEventLoop
        if self._backend.options:
            import uvloop

            base = uvloop.Loop
        counted = self

        class Loop(base):  # type: ignore[misc]  # the class depends on the backend
            """Counts callbacks."""

            def call_soon(self, *args: Any, **options: Any) -> Any:
                """Count."""
                counted._turns += 1
                return base.call_soon(self, *args, **options)

        return Loop
