"""Async generators that somebody else steps or closes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from benchmarks.comparison.asking import Topic, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    Way = Callable[[AsyncGenerator[Any, Any]], Any]


def ours(source: AsyncGenerator[Any, Any]) -> Any:
    """`hosted`."""
    from asyncgen_tools import hosted

    return hosted(source)


def by_aclosing(source: AsyncGenerator[Any, Any]) -> Any:
    """`contextlib.aclosing`."""
    return aclosing(source)


def by_asyncstdlib(source: AsyncGenerator[Any, Any]) -> Any:
    """`asyncstdlib.scoped_iter`."""
    return library("asyncstdlib").scoped_iter(source)


def by_aiostream(source: AsyncGenerator[Any, Any]) -> Any:
    """`aiostream.streamcontext`."""
    return library("aiostream").streamcontext(source)


def by_async_generator(source: AsyncGenerator[Any, Any]) -> Any:
    """`async_generator.aclosing`."""
    return library("async_generator").aclosing(source)


def closes(way: Way) -> bool:
    """At the end of the block the generator's `finally` has run."""
    cleaned: list[bool] = []

    async def cleaning() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def main() -> bool:
        async with way(cleaning()) as items:
            await anext(items)
        return cleaned == [True]

    return asyncio.run(main())


def sends(way: Way) -> bool:
    """`asend` reaches the generator."""

    async def echo() -> AsyncGenerator[Any, Any]:
        yield (yield "ready")

    async def main() -> bool:
        async with way(echo()) as items:
            await anext(items)
            return bool(await items.asend("sent") == "sent")

    return asyncio.run(main())


async def grouped() -> AsyncGenerator[int, None]:
    """Holds a task group over its yields."""
    async with library("anyio").create_task_group():
        yield 1
        yield 2


def steps_from_tasks(way: Way) -> bool:
    """Each step is another task's, and the generator holds a task group over its yields."""

    async def step(items: Any) -> Any:
        return await anext(items, None)

    async def main() -> bool:
        async with way(grouped()) as items:
            steps = [await asyncio.create_task(step(items)) for _ in range(3)]
            return steps == [1, 2, None]

    return asyncio.run(main())


def closes_from_another_task(way: Way) -> bool:
    """The block is entered in one task and left in another, over a task group that is held at a `yield`."""

    async def main() -> bool:
        manager = way(grouped())

        async def enter() -> None:
            await anext(await manager.__aenter__())

        async def leave() -> None:
            await manager.__aexit__(None, None, None)

        await asyncio.create_task(enter())
        await asyncio.create_task(leave())
        return True

    return asyncio.run(main())


def spares_the_consumer(way: Way) -> bool:
    """A timeout of the generator that runs out between two steps does not cancel what the consumer then awaits."""

    async def limited() -> AsyncGenerator[int, None]:
        async with asyncio.timeout(0.05):
            yield 1
            yield 2

    async def main() -> bool:
        async with way(limited()) as items:
            await anext(items)
            await asyncio.sleep(0.2)
        return True

    return asyncio.run(main())


TOPIC = Topic(
    title="Async generators that somebody else steps or closes",
    about="A block, `async with … as items:`, around a generator.",
    contenders={
        "asyncgen_tools: hosted": ours,
        "contextlib: aclosing": by_aclosing,
        "asyncstdlib: scoped_iter": by_asyncstdlib,
        "aiostream: streamcontext": by_aiostream,
        "async_generator: aclosing": by_async_generator,
    },
    questions={
        "closed at the end of the block": closes,
        "`asend`": sends,
        "steps from several tasks, task group held": steps_from_tasks,
        "left in another task, task group held": closes_from_another_task,
        "its timeout spares the consumer": spares_the_consumer,
    },
)
