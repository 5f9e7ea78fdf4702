"""What the checks and the sweeps of the testing kit take and give."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import assert_type

from asyncgen_tools.errors import ConformanceError, SweepError
from asyncgen_tools.testing import (
    Backend,
    Place,
    SweepPoint,
    SweepReport,
    Verdict,
    check_async_generator,
    get_backend,
    sweep_cancellation,
    sweep_close,
)


async def numbers() -> AsyncGenerator[int, None]:
    """An async generator function."""
    yield 1


async def coroutine() -> int:
    """A coroutine function."""
    return 1


class Countdown:
    """A class-based async iterator, which is its own factory."""

    def __aiter__(self) -> AsyncIterator[int]:
        """Iterate."""
        return self

    async def __anext__(self) -> int:
        """End."""
        raise StopAsyncIteration


def look(state: object, point: SweepPoint) -> None:
    """What users write for `check`."""
    assert_type(point.place, Place | None)
    assert_type(point.error, BaseException | None)
    assert_type(point.objection, BaseException | None)
    print(state, point)


backend: Backend = get_backend("asyncio")
assert_type(check_async_generator(numbers), tuple[Verdict, ...])
check_async_generator(Countdown, backends=["asyncio", backend], checks={"leak"}, also=(), skip=["leak"], timeout=1)
check_async_generator(numbers())  # type: ignore[arg-type]  # not a factory
check_async_generator(coroutine)  # type: ignore[arg-type]  # gives no async iterable
check_async_generator(numbers, ["asyncio"])  # type: ignore[call-arg, misc, unused-ignore]  # keyword only

assert_type(sweep_cancellation(coroutine), SweepReport)
sweep_cancellation(numbers, backend="trio", check=look, scope="tree", allowed=["swallowed"], cancel_at=1, timeout=0.5)
sweep_cancellation(lambda: (numbers(), [1]), check=look)
sweep_cancellation(coroutine, scope="forest")  # type: ignore[arg-type]
assert_type(sweep_close(numbers), SweepReport)
sweep_close(numbers, backend=backend, actions=["aclose", "drop"], check=look, close_at=1, max_yields=3)
sweep_close(numbers, actions=["explode"])  # type: ignore[list-item]


def reading(error: ConformanceError, sweep: SweepError) -> None:
    """What errors carry."""
    assert_type(error.place, Place | None)
    assert_type(error.code, str)
    assert_type(sweep.report, SweepReport | None)
