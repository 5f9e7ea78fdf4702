"""Which timeouts and task groups a task has open, asked on a loop of asyncio that needs neither sockets nor threads.

Written without pytest, so that the same file runs under pyodide (see run.py) and in the ordinary test run: what a
suspended frame refers to is another thing on CPython 3.14 than before.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

from asyncgen_tools.testing.harness.asyncio_scopes import named, owned_scopes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine


class _Loop(asyncio.BaseEventLoop):
    """Runs what is ready; nothing comes from outside."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self

    def select(self, timeout: float | None) -> list[Any]:
        """Nothing has come."""
        del timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a loop of its own, also within one that only seems to run (pyodide's)."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = _Loop()
    try:
        loop.run_until_complete(main)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
        asyncio._set_running_loop(before)


def open_now() -> list[str]:
    """The names of what the current task has open."""
    return sorted(named(scope) for scope in owned_scopes(asyncio.current_task()))


async def timed() -> AsyncGenerator[int, None]:
    """In a timeout."""
    async with asyncio.timeout(60):
        yield 1
        yield 2


async def grouped() -> AsyncGenerator[int, None]:
    """In a task group, which holds its attributes in a dictionary, as any object may."""
    async with asyncio.TaskGroup() as group:
        assert vars(group)
        yield 1


class _Manager:
    """Somebody's own context manager, with a timeout on its stack."""

    __slots__ = ("stack",)

    async def __aenter__(self) -> Self:
        self.stack = contextlib.AsyncExitStack()
        await self.stack.enter_async_context(asyncio.timeout(60))
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.stack.aclose()


async def managed() -> AsyncGenerator[int, None]:
    """In a timeout that is out of sight."""
    async with _Manager():
        yield 1


def test_what_is_open_is_found() -> None:
    """A timeout and a task group are found while their block is suspended, and only then."""

    async def main() -> None:
        assert open_now() == []
        for make, name in ((timed, "Timeout"), (grouped, "TaskGroup"), (managed, "Timeout")):
            source = make()
            await anext(source)
            assert open_now() == [name]
            async for _ in source:  # not closed: a task group makes a group of GeneratorExit
                assert open_now() == [name]
            assert open_now() == []

    run(main())


def test_what_another_task_has_open_is_not() -> None:
    """A scope belongs to the task that has entered it, and to nobody who holds what holds it."""

    async def main() -> None:
        source, entered, leave = timed(), asyncio.Event(), asyncio.Event()

        async def consume() -> None:
            async with contextlib.aclosing(source):
                assert await anext(source) == 1
                assert open_now() == ["Timeout"]
                entered.set()
                await leave.wait()

        task = asyncio.get_running_loop().create_task(consume())
        await entered.wait()
        assert open_now() == []
        leave.set()
        await task

    run(main())


def test_what_was_left_is_kept_and_not_open() -> None:
    """Objects of scopes that were left still know their task, and are not open; nor is one that has expired."""

    async def main() -> None:
        async with asyncio.timeout(60) as timeout, asyncio.TaskGroup() as group:
            assert open_now() == ["TaskGroup", "Timeout"]
        expired = asyncio.timeout(0)
        with contextlib.suppress(TimeoutError):
            async with expired:
                await asyncio.Event().wait()
        assert open_now() == []
        del timeout, group, expired

    run(main())
