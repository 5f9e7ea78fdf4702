"""What a call costs in `concurrent_map`, and in an `asyncio.TaskGroup` that a semaphore bounds."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools import concurrent_map
from benchmarks.measure import Contender, Effort, Goal, Table, against, in_turns, microseconds, progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from benchmarks.libraries import Library

    Function = Callable[[int], Awaitable[int]]
    Fan = Callable[[Function, Iterable[int]], Coroutine[Any, Any, None]]

LIMIT: Final = 100
CALLS: Final = 100_000


async def at_once(number: int) -> int:
    """A call that does nothing, and waits for nothing."""
    return number


async def after_sleep(number: int) -> int:
    """A call that suspends once."""
    await asyncio.sleep(0)
    return number


async def mapped(function: Function, source: Iterable[int]) -> None:
    """`concurrent_map`, its results in order."""
    async with concurrent_map(function, source, limit=LIMIT) as results:
        async for _ in results:
            pass


async def completed(function: Function, source: Iterable[int]) -> None:
    """`concurrent_map`, its results as they are completed."""
    async with concurrent_map(function, source, limit=LIMIT, ordered=False) as results:
        async for _ in results:
            pass


async def grouped(function: Function, source: Iterable[int]) -> None:
    """A TaskGroup with all tasks at once; a semaphore bounds the calls, and nothing the tasks."""
    semaphore = asyncio.Semaphore(LIMIT)

    async def bounded(number: int) -> int:
        async with semaphore:
            return await function(number)

    async with asyncio.TaskGroup() as group:
        for number in source:
            group.create_task(bounded(number))


async def gated(function: Function, source: Iterable[int]) -> None:
    """A TaskGroup whose tasks are bounded, too: the semaphore is taken before a task is made."""
    semaphore = asyncio.Semaphore(LIMIT)

    async def releasing(number: int) -> int:
        try:
            return await function(number)
        finally:
            semaphore.release()

    async with asyncio.TaskGroup() as group:
        for number in source:
            await semaphore.acquire()
            group.create_task(releasing(number))


FANS: Final[dict[str, Fan]] = {
    "TaskGroup, semaphore": grouped,
    "TaskGroup, semaphore first": gated,
    "concurrent_map": mapped,
    "ordered=False": completed,
}
FUNCTIONS: Final[dict[str, Function]] = {"no-op": at_once, "one suspension": after_sleep}


def contender(library: Library, fan: Fan, function: Function) -> Contender:
    """The seconds of so many calls, the end of the last one included."""

    async def timed(count: int) -> float:
        start = perf_counter()
        await fan(function, range(count))
        return perf_counter() - start

    return lambda count: float(library.run(lambda: timed(count)))


def measure(libraries: Sequence[Library], effort: Effort) -> dict[str, Any]:
    """The seconds of a call, by library, kind and contender; the peak of bytes, by contender and number of calls.

    asyncio's only, because TaskGroup is.
    """
    calls = effort.count(CALLS)  # the promise is one about 100,000 calls, opening included
    seconds: dict[str, dict[str, dict[str, float]]] = {}
    for library in libraries:
        if library.backend != "asyncio":
            continue
        seconds[library.name] = {}
        for kind, function in FUNCTIONS.items():
            progress(f"concurrency: {library.name}, {kind}")
            contenders = {name: contender(library, fan, function) for name, fan in FANS.items()}
            found = in_turns(contenders, dict.fromkeys(contenders, calls), min(effort.rounds, 2))
            seconds[library.name][kind] = found
    progress("concurrency: memory")
    asyncio_itself = next(library for library in libraries if library.backend == "asyncio")
    peaks = {
        name: {str(count): peak_memory(asyncio_itself, fan, count) for count in (calls // 10, calls)}
        for name, fan in FANS.items()
    }
    return {"seconds": seconds, "peaks": peaks}


def peak_memory(library: Library, fan: Fan, count: int) -> int:
    """The most bytes that Python held during so many calls."""
    gc.collect()
    tracemalloc.start()
    try:
        library.run(lambda: fan(at_once, range(count)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def tables(figures: dict[str, Any]) -> list[Table]:
    """What `measure` found, with the ratios to the plain TaskGroup."""
    first, *others = FANS
    calls = [
        [library, kind, microseconds(found[first]), *(against(found[name], found[first]) for name in others)]
        for library, kinds in figures["seconds"].items()
        for kind, found in kinds.items()
    ]
    peaks: list[list[str]] = []
    headings: list[str] = []
    for name, counts in figures["peaks"].items():
        headings = ["with", *(f"{int(count):,} calls" for count in counts)]
        peaks.append([name, *(f"{peak / 1024:,.0f} KiB" for peak in counts.values())])
    title = f"A call, {LIMIT} at a time, and its ratio to a TaskGroup with a semaphore"
    return [Table(title, ["loop", "call", *FANS], calls), Table("Peak memory of a fan-out", headings, peaks)]


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What is promised of `concurrent_map`."""
    return [
        Goal(f"{library}, no-op calls: {name}, to `concurrent_map`", found[name] / found["concurrent_map"], least=1)
        for library, found in ((library, kinds["no-op"]) for library, kinds in figures["seconds"].items())
        for name in ("TaskGroup, semaphore", "TaskGroup, semaphore first")
    ]
