"""What is a driver, and what is an async generator whose return value has a type."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from types import TracebackType
from typing import Any, Self, assert_type

from asyncgen_tools import Runner, SyncGenerator, drive
from asyncgen_tools.protocols import Driver, ReturningAsyncGenerator


class Counter:
    """An async generator written as a class, with a return value."""

    return_value: bytes = b""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration(self.return_value)

    async def asend(self, value: str, /) -> int:
        raise NotImplementedError

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> int:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


class Silent:
    """The same, but for the return value."""

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, int]:
        raise NotImplementedError


returning: ReturningAsyncGenerator[int, str, bytes] = Counter()
of_other_items: ReturningAsyncGenerator[str, str, bytes] = Counter()  # type: ignore[assignment]
of_other_result: ReturningAsyncGenerator[int, str, str] = Counter()  # type: ignore[assignment]
without_result: ReturningAsyncGenerator[int, None, None] = Silent()  # type: ignore[assignment]
assert_type(drive(Counter()), SyncGenerator[int, str, bytes])
assert_type(drive(Silent()), SyncGenerator[int, None, None])


def native(generator: AsyncGenerator[int, str]) -> ReturningAsyncGenerator[int, str, Any]:
    """A native async generator has no typed return value before PEP 828."""
    return generator  # type: ignore[return-value]


def drivers(runner: Runner) -> Driver:
    """A runner is one, and so may be handed to whoever takes any."""
    return runner


async def generate() -> AsyncGenerator[int, None]:
    """An async generator function."""
    yield 1


async def double(number: int) -> int:
    """A coroutine function."""
    return 2 * number


def driven_by(driver: Driver) -> None:
    """A driver gives what a runner gives."""
    assert_type(driver.drive(generate(), timeout=1), SyncGenerator[int, None, None])
    assert_type(driver.drive(Counter()), SyncGenerator[int, str, bytes])
    assert_type(driver.run(double, 1), int)
    driver.run(double, "1")  # type: ignore[arg-type]
    driver.close()


not_a_driver: Driver = drive(generate())  # type: ignore[assignment]
