"""The results of concurrent_map have the type that the function's results have, awaited where it is async."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, assert_type

from asyncgen_tools import concurrent_map
from asyncgen_tools.concurrency import Results


async def fetch(url: str) -> bytes:
    """An async function."""
    return url.encode()


def parse(page: bytes) -> int:
    """A sync function."""
    return len(page)


async def urls() -> AsyncGenerator[str, None]:
    """An async source."""
    yield "/"


async def awaited() -> None:
    """An async function, on sync and async sources."""
    assert_type(concurrent_map(fetch, ["/"], limit=8), AbstractAsyncContextManager[Results[bytes], None])
    async with concurrent_map(fetch, urls(), limit=8, ordered=False) as results:
        assert_type(results, Results[bytes])
        async for page in results:
            assert_type(page, bytes)
        assert_type(await anext(results), bytes)
        assert_type([page async for page in results], list[bytes])
        assert_type(aiter(results), Results[bytes])
        await results.aclose()


async def submitted(executor: Executor) -> None:
    """A sync function on an executor."""
    async with concurrent_map(parse, [b"/"], limit=8, executor=executor) as results:
        assert_type(results, Results[int])
    async with concurrent_map(parse, [b"/"], limit=8, executor=ThreadPoolExecutor()) as results:
        assert_type(results, Results[int])


async def chained(executor: Executor) -> None:
    """Results are a source themselves."""
    async with (
        concurrent_map(fetch, urls(), limit=8) as pages,
        concurrent_map(parse, pages, limit=2, executor=executor) as lengths,
    ):
        assert_type(lengths, Results[int])


async def passes_for_one(results: Results[int]) -> None:
    """They may be handed to whoever wants an async iterator, or something to close."""
    taken: tuple[AsyncIterator[int], AsyncIterable[int]] = (results, results)
    async with aclosing(results) as same:
        assert_type(same, Results[int])
    print(taken)


async def raises() -> int:
    """A block swallows no exception."""
    async with concurrent_map(fetch, urls(), limit=1):
        raise ValueError
    return 1  # type: ignore[unreachable]


async def refused(awaitable: Awaitable[int]) -> None:
    """What cannot work does not type-check."""
    concurrent_map(fetch, ["/"])  # type: ignore[call-overload]  # no limit
    concurrent_map(parse, [b"/"], limit=1)  # type: ignore[arg-type]  # not async, and no executor
    concurrent_map(fetch, [1], limit=1)  # type: ignore[arg-type]  # not what the function takes
    concurrent_map(fetch, 1, limit=1)  # type: ignore[call-overload]
    concurrent_map(fetch, urls, limit=1)  # type: ignore[call-overload]  # not called
    concurrent_map(awaitable, ["/"], limit=1)  # type: ignore[call-overload]
    concurrent_map(parse, [b"/"], limit=1, executor=parse)  # type: ignore[call-overload]
    concurrent_map(fetch, ["/"], 8)  # type: ignore[call-overload]


async def not_entered() -> Any:
    """The block is not the results."""
    return [page async for page in concurrent_map(fetch, urls(), limit=1)]  # type: ignore[attr-defined]
