"""A function called for the items of a source, a few calls at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from benchmarks.comparison.asking import NotOfferedError, Topic, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable

    Way = Callable[..., Any]


def ours(function: Any, source: AsyncIterable[Any], *, limit: int = 4, **options: Any) -> Any:
    """`concurrent_map`."""
    from asyncgen_tools import concurrent_map

    return concurrent_map(function, source, limit=limit, **options)


def by_aiostream(function: Any, source: AsyncIterable[Any], *, limit: int = 4, ordered: bool = True) -> Any:
    """`aiostream.stream.map` with a `task_limit`."""
    return library("aiostream").stream.map(source, function, task_limit=limit, ordered=ordered).stream()


def by_asyncstdlib(function: Any, source: AsyncIterable[Any], *, limit: int = 4) -> Any:
    """`asyncstdlib.map`, which calls one after another."""
    del limit
    return aclosing(library("asyncstdlib").map(function, source))


class Calls:
    """A function that counts how many of its calls run at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def call(self, item: int, *_: Any) -> int:
        """One call."""
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return item


async def numbers(count: int) -> AsyncGenerator[int, None]:
    """A source."""
    for number in range(count):
        yield number


def at_once(way: Way) -> bool:
    """Several calls run at once, and never more than the limit."""
    calls = Calls()

    async def main() -> bool:
        async with way(calls.call, numbers(12), limit=4) as results:
            return [result async for result in results] == list(range(12)) and calls.most == 4

    return asyncio.run(main())


def as_they_come(way: Way) -> bool:
    """On demand, results come as soon as they are there, whatever the order of their items."""
    if way is by_asyncstdlib:
        raise NotOfferedError

    async def waits(item: int, *_: Any) -> int:
        await asyncio.sleep(0.2 if item == 0 else 0)
        return item

    async def main() -> bool:
        async with way(waits, numbers(4), limit=4, ordered=False) as results:
            return bool([result async for result in results][-1] == 0)

    return asyncio.run(main())


def holds_back(way: Way) -> bool:
    """A consumer that takes one item and waits has let the source go on by the limit at most."""
    taken: list[int] = []

    async def counting() -> AsyncGenerator[int, None]:
        for number in range(100):
            taken.append(number)
            yield number

    async def main() -> bool:
        async with way(Calls().call, counting(), limit=4) as results:
            await anext(results)
            await asyncio.sleep(0.3)
            return len(taken) <= 6

    return asyncio.run(main())


def ends_all(way: Way) -> bool:
    """When the block is left, no call is running any more, and the source is closed."""
    closed: list[bool] = []
    running: set[int] = set()

    async def source() -> AsyncGenerator[int, None]:
        try:
            for number in range(100):
                yield number
        finally:
            closed.append(True)

    async def call(item: int, *_: Any) -> int:
        running.add(item)
        try:
            await asyncio.sleep(0 if item == 0 else 10)
        finally:
            running.remove(item)
        return item

    async def main() -> bool:
        async with way(call, source(), limit=4) as results:
            await anext(results)
            await asyncio.sleep(0.1)
        return closed == [True] and not running

    return asyncio.run(main())


def raises_as_it_is(way: Way) -> bool:
    """The error of a call comes out as it was raised."""

    async def fails(item: int, *_: Any) -> float:
        await asyncio.sleep(0)
        return 1 / item

    async def main() -> bool:
        async with way(fails, numbers(3)) as results:
            try:
                await anext(results)
            except ZeroDivisionError:
                return True
        return False

    return asyncio.run(main())


def on_an_executor(way: Way) -> bool:
    """The calls can be those of a `concurrent.futures` executor."""
    if way is not ours:
        raise NotOfferedError

    async def main() -> bool:
        with ThreadPoolExecutor(2) as pool:
            async with way(str, numbers(3), executor=pool) as results:
                return [result async for result in results] == ["0", "1", "2"]

    return asyncio.run(main())


def on_trio(way: Way) -> bool:
    """It works under trio."""
    trio = library("trio")

    async def call(item: int, *_: Any) -> int:
        await trio.sleep(0)
        return item

    async def main() -> bool:
        async with way(call, numbers(3)) as results:
            return [result async for result in results] == [0, 1, 2]

    return bool(trio.run(main))


TOPIC = Topic(
    title="Calls for the items of a source, a few at a time",
    about="anyio and asyncer have task groups to build it from, and nothing that takes a source.",
    contenders={
        "asyncgen_tools: concurrent_map": ours,
        "aiostream: stream.map": by_aiostream,
        "asyncstdlib: map": by_asyncstdlib,
    },
    questions={
        "several at once, at most `limit`": at_once,
        "results as they come": as_they_come,
        "a slow consumer holds the source back": holds_back,
        "all ended when left early": ends_all,
        "errors as they are": raises_as_it_is,
        "executors": on_an_executor,
        "trio": on_trio,
    },
)
