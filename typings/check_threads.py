"""What in_thread takes and gives: item, send and return types pass through, also those of functions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from typing import assert_type

from anyio import CapacityLimiter

from asyncgen_tools import in_thread
from asyncgen_tools.bridged_generator import BridgedGenerator


def echo() -> Generator[int, str, bytes]:
    """A generator function, as users write them."""
    print((yield 1))
    return b""


def lines() -> Iterator[str]:
    """A generator function annotated as giving an iterator."""
    yield ""


async def threading(iterable: Iterable[int]) -> None:
    """Items, sent values and the return value keep their types; what cannot be sent to takes None."""
    assert_type(in_thread(echo()), BridgedGenerator[int, str, bytes])
    assert_type(in_thread(echo), BridgedGenerator[int, str, bytes])
    assert_type(in_thread(lines()), BridgedGenerator[str, None, None])
    assert_type(in_thread(lines), BridgedGenerator[str, None, None])
    assert_type(in_thread(iterable), BridgedGenerator[int, None, None])
    assert_type(in_thread([1], prefetch=2, limiter=CapacityLimiter(1)), BridgedGenerator[int, None, None])
    async with in_thread(echo) as generator:
        assert_type(await generator.asend("a"), int)
        assert_type(generator.return_value, bytes)
        plain: AsyncGenerator[int, str] = generator
        print(plain)
        await generator.asend(1)  # type: ignore[arg-type]


async def stream() -> AsyncGenerator[int]:
    """An async generator function."""
    yield 1


def not_threaded() -> None:
    """What is not iterable is refused, and so are options that are not named."""
    in_thread(5)  # type: ignore[call-overload]
    in_thread(stream())  # type: ignore[call-overload]
    in_thread([1], 2)  # type: ignore[call-overload]  # keyword only
    in_thread([1], prefetch="2")  # type: ignore[call-overload]
    in_thread([1]).asend(1)  # type: ignore[arg-type, unused-coroutine]
