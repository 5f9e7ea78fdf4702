"""How the traffic of the soak test uses a driven generator: to its end, or to one of many other ends.

Each way checks that every step gives what it should, and leaves the generator finished or dropped.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools.errors import PrefetchError
from asyncgen_tools.loops.outcomes import consists_of
from tests.soak.sources import ProbeError, Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from random import Random

    from asyncgen_tools import SyncGenerator

    Driven = SyncGenerator[int, Any, Any]

__all__ = ("WAYS", "closing", "consume", "take")


def consume(rng: Random, source: Source, generator: Driven) -> None:
    """Use up a generator in a random way."""
    rng.choice(WAYS)(rng, source, generator)


def take(generator: Driven, source: Source, first: int, count: int) -> int:
    """Take so many steps, or as many as there are; how many numbers have been taken by then."""
    for expected in range(first, first + count):
        try:
            number = next(generator)
        except StopIteration as stop:
            assert expected == source.length, f"{source} ended before {expected}"
            assert stop.value is source.value
            return expected
        assert number == expected < source.length, f"{source} yielded {number} for {expected}"
    return first + count


def exhaust(_rng: Random, source: Source, generator: Driven) -> None:
    """To its end, by `yield from`, which gives the return value."""
    values: list[object] = []

    def through() -> Generator[int, Any, None]:
        values.append((yield from generator))

    assert [*through()] == [*range(source.length)]
    assert values == [source.value]
    assert next(generator, None) is None


def leave(rng: Random, source: Source, generator: Driven) -> None:
    """Break out of a `for` loop; the caller drops it."""
    last = rng.randrange(12)
    number = -1
    for number in generator:
        if number == last:
            break
    assert number == min(last, source.length - 1)


def close(rng: Random, source: Source, generator: Driven) -> None:
    """Close it before, after or in the middle, perhaps twice."""
    with generator:
        take(generator, source, 0, rng.randrange(6))
        if rng.random() < 0.5:
            generator.close()
    assert next(generator, None) is None


def fail(rng: Random, source: Source, generator: Driven) -> None:
    """Raise in the body of the `for` loop."""
    with suppress(ProbeError), generator:
        take(generator, source, 0, rng.randrange(6))
        raise ProbeError


def throw(rng: Random, source: Source, generator: Driven) -> None:
    """Throw into it, once or more, and then close it."""
    with generator:
        taken = take(generator, source, 0, rng.randrange(1, 6))
        for _ in range(rng.randrange(1, 3)):
            error = ProbeError()
            try:
                number = generator.throw(error)
            except ProbeError as raised:
                assert raised is error
                return
            except BaseExceptionGroup as raised:  # a task group was open
                assert consists_of(raised, (ProbeError,))
                return
            except StopIteration as stop:
                assert source.forgiving
                assert stop.value is source.value
                return
            except PrefetchError:
                return
            assert source.forgiving
            assert number == taken
            taken += 1


def send(rng: Random, source: Source, generator: Driven) -> None:
    """Send values, falsy ones too, and then close it."""
    with generator:
        taken = take(generator, source, 0, rng.randrange(1, 6))
        for _ in range(rng.randrange(1, 4)):
            value = rng.choice((0, "value", None, generator))
            try:
                number = generator.send(value)
            except StopIteration as stop:
                assert stop.value in {source.value, None}  # it may have ended before
                return
            except PrefetchError:
                return
            assert number == taken
            taken += 1
            assert source.received is value


@asynccontextmanager
async def closing(generator: AsyncGenerator[int, Any]) -> AsyncGenerator[AsyncGenerator[int, Any]]:
    """Close it in the end; where it holds a task group over its yields, GeneratorExit comes out in a group."""
    try:
        yield generator
    finally:
        try:
            await generator.aclose()
        except BaseExceptionGroup as error:
            assert consists_of(error, (GeneratorExit,))


WAYS: Final[tuple[Callable[[Random, Source, Driven], None], ...]] = (exhaust, leave, close, fail, throw, send)
