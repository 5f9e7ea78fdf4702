"""Async tests on each library: `on_every_backend` runs a test in a loop of its own, asyncio's, uvloop's or trio's."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tests.conftest import Backend

__all__ = ("on_every_backend", "run_on", "started_task")


def run_on(backend: Backend, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Run an async function to its end, in a loop that runs all the time."""
    if backend.name == "trio":
        import trio

        return trio.run(function, *args)
    factory: Any = asyncio.new_event_loop
    if backend.options:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(function(*args))


def on_every_backend(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Decorate an async test, whose first parameter is `backend`."""

    @functools.wraps(test)
    def run(backend: Backend, **fixtures: Any) -> None:
        run_on(backend, functools.partial(test, backend, **fixtures))

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]  # where pytest looks for fixtures
    return run


async def started_task(
    group: anyio.abc.TaskGroup, function: Callable[[], Awaitable[Any]], scope: anyio.CancelScope
) -> None:
    """Start an async function in a task group, in a scope that cancels it alone."""

    async def run() -> None:
        with scope:
            await function()

    group.start_soon(run)
    await anyio.sleep(0)
