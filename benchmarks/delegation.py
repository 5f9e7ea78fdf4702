"""What delegation costs at each depth: `yield_from`, nested `async for` loops, and the sync language's `yield from`.

Side by side in one process, all driven without an event loop.
"""

from __future__ import annotations

import gc
import tracemalloc
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asyncgen_tools import delegating, yield_from
from benchmarks.measure import Effort, Goal, Table, alternately, progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence

    from benchmarks.libraries import Library
    from benchmarks.measure import Contender

DEPTHS = (0, 1, 2, 3, 10, 30, 100, 300, 1_000, 10_000)
DEEPEST = {"nested async for": 300, "yield from": 300}
"""How deep the recursion limit, and patience, lets the others go."""


@delegating
async def flat(depth: int, count: int) -> AsyncGenerator[int, None]:
    """So many items through `yield_from`."""
    if depth:
        await yield_from(flat(depth - 1, count))
    else:
        for number in range(count):
            yield number


async def nested(depth: int, count: int) -> AsyncGenerator[int, None]:
    """So many items through nested loops."""
    if depth:
        async for item in nested(depth - 1, count):
            yield item
    else:
        for number in range(count):
            yield number


def sync(depth: int, count: int) -> Generator[int, None, None]:
    """So many items through the sync language's `yield from`."""
    if depth:
        yield from sync(depth - 1, count)
    else:
        yield from iter(range(count))


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("it waited")


def asynchronous(make: Any, depth: int) -> Contender:
    """Consume an async generator; building and closing the chain is not counted."""

    async def loop(count: int) -> float:
        source = make(depth, count + 1)
        await anext(source)
        start = perf_counter()
        async for number in source:
            if number == count:
                break
        seconds = perf_counter() - start
        await source.aclose()
        return seconds

    return lambda count: float(finished(loop(count)))


def synchronous(depth: int) -> Contender:
    """The same for a sync one."""

    def loop(count: int) -> float:
        source = sync(depth, count + 1)
        next(source)
        start = perf_counter()
        for number in source:
            if number == count:
                break
        return perf_counter() - start

    return loop


def measure(_libraries: Sequence[Library], effort: Effort) -> dict[str, Any]:
    """The seconds per item, by depth and contender, all of which take turns; and the bytes of a level."""
    progress("delegation")
    contenders: dict[str, Contender] = {}
    for depth in DEPTHS:
        contenders[f"{depth} yield_from"] = asynchronous(flat, depth)
        if depth <= DEEPEST["nested async for"]:
            contenders[f"{depth} nested async for"] = asynchronous(nested, depth)
        if depth <= DEEPEST["yield from"]:
            contenders[f"{depth} yield from"] = synchronous(depth)
    costs: dict[str, dict[str, float]] = {str(depth): {} for depth in DEPTHS}
    for key, seconds in alternately(contenders, Effort(effort.seconds / 3, 2 * effort.rounds)).items():
        number, name = key.split(" ", 1)
        costs[number][name] = seconds
    return {"seconds": costs, "bytes": {"yield_from": memory_per_level(flat), "nested": memory_per_level(nested)}}


def memory_per_level(make: Any, depth: int = 400) -> float:
    """The bytes that each level of a suspended chain takes."""
    finished(anext(make(2, 1)))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    source = make(depth, 1)
    finished(anext(source))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    finished(source.aclose())
    return (after - before) / depth


def tables(figures: dict[str, Any]) -> list[Table]:
    """Microseconds per item, and how many times faster than nested loops."""
    costs: dict[str, dict[str, float]] = figures["seconds"]
    rows: list[list[str]] = []
    for depth, seconds in costs.items():
        cells = [f"{seconds[name] * 1e6:.2f}" if name in seconds else "" for name in ("yield_from", *DEEPEST)]
        other = seconds.get("nested async for")
        rows.append([f"{int(depth):,}", *cells, f"{other / seconds['yield_from']:.2f} ×" if other else ""])
    headings = ["depth", "`yield_from`, µs", "nested `async for`, µs", "sync `yield from`, µs", "faster than nested"]
    return [Table("Delegation: an item against depth", headings, rows)]


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What is promised of delegation."""
    costs: dict[str, dict[str, float]] = figures["seconds"]
    memory: dict[str, float] = figures["bytes"]
    slower = {
        depth: found["yield_from"] / found["nested async for"] for depth, found in costs.items() if len(found) == 3
    }
    delegated = [found["yield_from"] for depth, found in costs.items() if depth != "0"]
    return [
        Goal("delegation, depth 1, to nested `async for`", slower["1"], 2),
        Goal("delegation, depth 10: nested `async for` to it", 1 / slower["10"], least=3),
        Goal("delegation, depth 100: nested `async for` to it", 1 / slower["100"], least=20),
        Goal("delegation, depth 1 to 10,000: dearest to cheapest", max(delegated) / min(delegated), 1.5),
        Goal("`@delegating`, nothing delegated, to a native generator", slower["0"], 4),
        Goal("delegation: memory of a level, to a native one's", memory["yield_from"] / memory["nested"], 2),
    ]
