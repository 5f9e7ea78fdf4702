"""What hosted takes and gives: item, send and return types pass through; it is no iterator itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import assert_type

from asyncgen_tools import hosted
from asyncgen_tools.bridged_generator import BridgedGenerator
from asyncgen_tools.protocols import ReturningAsyncGenerator


async def echo() -> AsyncGenerator[int, str]:
    """An async generator function, as users write them."""
    print((yield 1))


async def hosting(
    returning: ReturningAsyncGenerator[int, str, bytes], iterator: AsyncIterator[int], iterable: AsyncIterable[int]
) -> None:
    """Items, sent values and the return value keep their types; what cannot be sent to takes None."""
    assert_type(hosted(echo()), AbstractAsyncContextManager[BridgedGenerator[int, str, None]])
    async with hosted(returning) as generator:
        assert_type(generator, BridgedGenerator[int, str, bytes])
        assert_type(await anext(generator), int)
        assert_type(await generator.asend("a"), int)
        assert_type(await generator.athrow(ValueError), int)
        assert_type(generator.return_value, bytes)
        plain: AsyncGenerator[int, str] = generator
        kept: ReturningAsyncGenerator[int, str, bytes] = generator
        print(plain, kept)
        await generator.asend(1)  # type: ignore[arg-type]
    async with hosted(iterator) as items, hosted(iterable) as others:
        assert_type(items, BridgedGenerator[int, None, None])
        assert_type(others, BridgedGenerator[int, None, None])
        async for item in items:
            assert_type(item, int)


async def not_hosted() -> None:
    """What is no async iterable is refused, and so is forgetting `async with`."""
    hosted([1])  # type: ignore[call-overload]
    hosted(echo)  # type: ignore[call-overload]  # not called
    hosted(source=echo())  # type: ignore[call-overload]  # positional only
    async for _ in hosted(echo()):  # type: ignore[attr-defined]
        pass
