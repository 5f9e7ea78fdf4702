"""Delegation between async generators."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from benchmarks.comparison.asking import NotOfferedError, Topic, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable

    Source = Callable[[], AsyncGenerator[Any, Any]]
    Way = Callable[[Source], AsyncGenerator[Any, Any]]


def ours(source: Source) -> AsyncGenerator[Any, Any]:
    """`await yield_from(source())`."""
    from asyncgen_tools import delegating, set_return_value, yield_from

    @delegating
    async def outer() -> AsyncGenerator[Any, Any]:
        await set_return_value(await yield_from(source()))
        return
        yield  # type: ignore[unreachable]  # makes it an async generator function

    return outer()


async def by_loop(source: Source) -> AsyncGenerator[Any, Any]:
    """The loop that comes to mind first."""
    async for item in source():
        yield item


async def by_closing_loop(source: Source) -> AsyncGenerator[Any, Any]:
    """The same, with the subgenerator closed."""
    async with aclosing(source()) as items:
        async for item in items:
            yield item


def by_async_generator(source: Source) -> AsyncGenerator[Any, Any]:
    """`await yield_from_(source())` of the backport for Python 3.5, which the library still is."""
    module = library("async_generator")

    async def outer() -> Any:
        return await module.yield_from_(source())

    generator: AsyncGenerator[Any, Any] = module.async_generator(outer)()
    return generator


def by_asyncstdlib(source: Source) -> AsyncGenerator[Any, Any]:
    """`asyncstdlib.chain(source())`."""
    chained: AsyncGenerator[Any, Any] = library("asyncstdlib").chain(source())
    return chained


def by_aiostream(source: Source) -> AsyncGenerator[Any, Any]:
    """`aiostream.stream.chain(source())`."""
    streamer: AsyncGenerator[Any, Any] = library("aiostream").stream.chain(source()).stream()
    return streamer


async def items_of(generator: AsyncIterable[Any]) -> list[Any]:
    """Every item."""
    return [item async for item in generator]


def passes_items(way: Way) -> bool:
    """The subgenerator's items are the generator's."""

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    return asyncio.run(items_of(way(numbers))) == [1, 2]


def passes_sent_values(way: Way) -> bool:
    """A value sent into the generator reaches the subgenerator."""

    async def echo() -> AsyncGenerator[Any, Any]:
        yield (yield "ready")

    async def main() -> bool:
        generator = way(echo)
        await anext(generator)
        received = await generator.asend("sent")
        return bool(received == "sent")

    return asyncio.run(main())


def passes_errors(way: Way) -> bool:
    """An exception thrown into the generator is raised at the subgenerator's `yield`."""

    async def catching() -> AsyncGenerator[Any, None]:
        try:
            yield "ready"
        except KeyError:
            yield "caught"

    async def main() -> bool:
        generator = way(catching)
        await anext(generator)
        item = await generator.athrow(KeyError())
        return bool(item == "caught")

    return asyncio.run(main())


def closes(way: Way) -> bool:
    """Closing the generator closes the subgenerator before it comes back."""
    cleaned: list[bool] = []

    async def cleaning() -> AsyncGenerator[Any, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def main() -> bool:
        generator = way(cleaning)
        await anext(generator)
        await generator.aclose()
        return cleaned == [True]

    return asyncio.run(main())


def returns(way: Way) -> bool:
    """The subgenerator's return value arrives at the end of the generator."""
    if way is ours:
        from asyncgen_tools import delegating, set_return_value

        @delegating
        async def returning() -> AsyncGenerator[Any, None]:
            yield 1
            await set_return_value("value")

        source: Source = returning
    elif way is by_async_generator:
        module = library("async_generator")

        async def returning_by_backport() -> Any:
            await module.yield_(1)
            return "value"

        source = module.async_generator(returning_by_backport)
    else:
        raise NotOfferedError

    async def main() -> bool:
        generator = way(source)
        await anext(generator)
        try:
            await anext(generator)
        except StopAsyncIteration as stop:
            return stop.args == ("value",)
        return False

    return asyncio.run(main())


def goes_deep(way: Way) -> bool:
    """A generator may delegate through 5,000 others."""

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1

    source: Source = numbers
    for _ in range(5_000):
        source = _wrapped(way, source)

    async def main() -> bool:
        generator = source()
        return bool(await anext(generator) == 1)

    return asyncio.run(main())


def _wrapped(way: Way, source: Source) -> Source:
    """One level more."""
    return lambda: way(source)


TOPIC = Topic(
    title="Delegation between async generators",
    about="A generator whose items are those of another one.",
    contenders={
        "asyncgen_tools: yield_from": ours,
        "asyncio: async for, yield": by_loop,
        "asyncio: the same in aclosing": by_closing_loop,
        "async_generator: yield_from_": by_async_generator,
        "asyncstdlib: chain": by_asyncstdlib,
        "aiostream: stream.chain": by_aiostream,
    },
    questions={
        "items": passes_items,
        "`asend`": passes_sent_values,
        "`athrow`": passes_errors,
        "`aclose` closes both": closes,
        "return value": returns,
        "5,000 levels": goes_deep,
    },
)
