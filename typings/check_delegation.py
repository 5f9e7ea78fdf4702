"""What type checkers know of delegation, and what they must refuse."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, assert_type

from asyncgen_tools import AsAsyncGenerator, AsAsyncIterator, delegating, set_return_value, yield_from
from asyncgen_tools.delegation import DelegatingGenerator
from asyncgen_tools.protocols import ReturningAsyncGenerator


@delegating(returns=int)
async def typed(name: str) -> AsyncGenerator[str, bytes]:
    received = yield name
    assert_type(received, bytes)
    await set_return_value(1)


@delegating
async def untyped() -> AsyncGenerator[str, None]:
    result = await yield_from(typed("a"))
    assert_type(result, int)
    yield "item"


class Class:
    """Methods are typed, too."""

    @delegating(returns=str)
    async def method(self, count: int) -> AsyncGenerator[int, None]:
        yield count

    @classmethod
    @delegating
    async def of_class(cls) -> AsyncGenerator[int, None]:
        yield 1


async def use() -> None:
    generator = typed("a")
    assert_type(generator, DelegatingGenerator[str, bytes, int])
    assert_type(generator.return_value, int)
    assert_type(await anext(generator), str)
    assert_type(await generator.asend(b""), str)
    sending: Coroutine[Any, Any, str] = generator.asend(b"")
    assert_type(await sending, str)
    assert_type([item async for item in generator], list[str])
    assert_type(untyped(), DelegatingGenerator[str, None, Any])
    assert_type(Class().method(1), DelegatingGenerator[int, None, str])
    assert_type(await anext(Class.of_class()), int)

    returning: ReturningAsyncGenerator[str, bytes, int] = generator
    native: AsyncGenerator[str, bytes] = generator
    assert_type(await yield_from(returning), int)
    await yield_from(native)
    await yield_from(AsAsyncIterator([1]))
    await yield_from(AsAsyncGenerator(number for number in (1, 2)))

    typed(1)  # type: ignore[arg-type]
    await generator.asend("text")  # type: ignore[arg-type]
    await yield_from([1])  # type: ignore[call-overload]
    await yield_from(typed)  # type: ignore[call-overload]


@delegating  # type: ignore[arg-type]
async def coroutine() -> None:
    pass
