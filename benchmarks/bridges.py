"""What an item costs across a bridge: `in_thread` beside starlette's way, `hosted` beside a queue between two tasks."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import anyio

from asyncgen_tools import hosted, in_thread
from benchmarks.libraries import at_once
from benchmarks.measure import Contender, Effort, Goal, Table, against, alternately, microseconds, progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    from benchmarks.libraries import Library

THREADS = ("iterate_in_threadpool", "in_thread", "prefetch=64")
TASKS = ("queue", "hosted")
#: How many times faster than starlette's way it is, at least.
LEAST = {"in_thread": 1.5, "prefetch=64": 10}
#: What `hosted` may cost, as a multiple of a queue between two tasks.
MOST = 3


class _StopIteration(Exception):  # noqa: N818  # starlette's name
    """What starlette raises in place of StopIteration, which no future can carry."""


async def iterate_in_threadpool(iterable: Iterable[Any]) -> AsyncIterator[Any]:
    """Starlette's function of this name (starlette/concurrency.py, BSD-3-Clause), less its type variables."""
    as_iterator = iter(iterable)
    while True:
        try:
            yield await anyio.to_thread.run_sync(_next, as_iterator)
        except _StopIteration:
            break


def _next(iterator: Iterator[Any]) -> Any:
    try:
        return next(iterator)
    except StopIteration:
        raise _StopIteration from None


async def consumed(items: AsyncIterator[int]) -> float:
    """The seconds of an `async for` loop over what has yielded its first item."""
    await anext(items)
    start = perf_counter()
    async for _ in items:
        pass
    return perf_counter() - start


async def queued(count: int) -> float:
    """The seconds of handing so many items over from one task to another, one at a time."""
    if asyncio._get_running_loop() is None:
        return await _sent(count)
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for number in range(count + 1):
            await queue.put(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce())
        await queue.get()
        start = perf_counter()
        for _ in range(count):
            await queue.get()
        return perf_counter() - start


async def _sent(count: int) -> float:
    """The same on trio: through a memory channel without a buffer."""
    import trio

    sender, receiver = trio.open_memory_channel[int](0)

    async def produce() -> None:
        for number in range(count + 1):
            await sender.send(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce)
        await receiver.receive()
        start = perf_counter()
        for _ in range(count):
            await receiver.receive()
        return perf_counter() - start


async def through_host(count: int) -> float:
    """The seconds of so many items of a hosted generator."""
    async with hosted(at_once(count + 1, 0)) as items:
        return await consumed(items)


def contenders(library: Library) -> dict[str, Contender]:
    """All that take part on a library."""

    def on_loop(function: Callable[[int], Coroutine[Any, Any, float]]) -> Contender:
        return lambda count: float(library.run(lambda: function(count)))

    def iterating(make: Callable[[range], AsyncIterator[int]]) -> Contender:
        return on_loop(lambda count: consumed(make(range(count + 1))))

    return {
        "iterate_in_threadpool": iterating(iterate_in_threadpool),
        "in_thread": iterating(in_thread),
        "prefetch=64": iterating(partial(in_thread, prefetch=64)),
        "queue": on_loop(queued),
        "hosted": on_loop(through_host),
    }


def measure(libraries: Iterable[Library], effort: Effort) -> dict[str, dict[str, float]]:
    """The seconds per item, by library and contender."""
    figures: dict[str, dict[str, float]] = {}
    for library in libraries:
        progress(f"bridges: {library.name}")
        figures[library.name] = alternately(contenders(library), effort)
    return figures


def tables(figures: dict[str, dict[str, float]]) -> list[Table]:
    """What `measure` found."""
    rows = [
        [
            library,
            microseconds(seconds[THREADS[0]]),
            *(against(seconds[name], seconds[THREADS[0]]) for name in THREADS[1:]),
            microseconds(seconds[TASKS[0]]),
            against(seconds[TASKS[1]], seconds[TASKS[0]]),
        ]
        for library, seconds in figures.items()
    ]
    headings = [
        "loop",
        "`iterate_in_threadpool`",
        "`in_thread`",
        "`in_thread`, `prefetch=64`",
        "`asyncio.Queue` / memory channel",
        "`hosted`",
    ]
    return [Table("Bridges: an item from a thread, and from another task", headings, rows)]


def goals(figures: dict[str, dict[str, float]]) -> list[Goal]:
    """What is promised of bridges."""
    found: list[Goal] = []
    for library, seconds in figures.items():
        for name, least in LEAST.items():
            found.append(Goal(f"{library}: {THREADS[0]} to `{name}`", seconds[THREADS[0]] / seconds[name], least=least))
        found.append(Goal(f"{library}: `hosted` to a queue", seconds["hosted"] / seconds["queue"], MOST))
    return found
