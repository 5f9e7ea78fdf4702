"""Every short program of steps, on generators and on their async twins (SEMANTICS A1, A2)."""

from __future__ import annotations

import inspect
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.ways import way_fixture as way_fixture  # noqa: PLC0414  # pytest finds it here

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from tests.ways import Way

    Pause = Callable[[], Awaitable[None]]
    SyncBody = Callable[[], Generator[Any, Any, Any]]
    AsyncBody = Callable[[Pause], AsyncGenerator[Any, Any]]

NATIVE: list[str] = []  # what sync bodies have done
DRIVEN: list[str] = []  # what their async twins have done


# A1: twins. Each pair is one body, written for both kinds of generator --------------------------------------------


def plain() -> Generator[Any, Any, Any]:
    yield 1
    yield 2


async def plain_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    await pause()
    yield 1
    await pause()
    yield 2
    await pause()


def echo() -> Generator[Any, Any, Any]:
    received = None
    for _ in range(3):
        received = yield ("received", received)


async def echo_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    received = None
    for _ in range(3):
        received = yield ("received", received)
        await pause()


def catching() -> Generator[Any, Any, Any]:
    try:
        yield 1
    except KeyError as exc:
        yield ("caught", exc.args)
    yield 2


async def catching_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    try:
        yield 1
    except KeyError as exc:
        await pause()
        yield ("caught", exc.args)
    await pause()
    yield 2


def cleaning() -> Generator[Any, Any, Any]:
    try:
        yield 1
    finally:
        NATIVE.append("cleaned")


async def cleaning_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    try:
        yield 1
    finally:
        await pause()
        DRIVEN.append("cleaned")


def failing() -> Generator[Any, Any, Any]:
    yield 1
    raise LookupError(5)


async def failing_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    yield 1
    await pause()
    raise LookupError(5)


def translating() -> Generator[Any, Any, Any]:
    try:
        yield 1
    except BaseException as exc:
        raise ValueError(2) from exc


async def translating_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    try:
        yield 1
    except BaseException as exc:
        await pause()
        raise ValueError(2) from exc


def swallowing() -> Generator[Any, Any, Any]:
    try:
        yield 1
    except BaseException:
        NATIVE.append("swallowed")


async def swallowing_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    try:
        yield 1
    except BaseException:
        await pause()
        DRIVEN.append("swallowed")


def empty() -> Generator[Any, Any, Any]:
    yield from ()


async def empty_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    await pause()
    for number in range(0):
        yield number


def stopping() -> Generator[Any, Any, Any]:
    yield 1
    raise StopIteration(3)  # noqa: PLR1708  # what becomes of it is the question


async def stopping_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    yield 1
    await pause()
    raise StopIteration(3)  # noqa: PLR1708  # what becomes of it is the question


def leaving() -> Generator[Any, Any, Any]:
    yield 1
    raise GeneratorExit


async def leaving_async(pause: Pause) -> AsyncGenerator[Any, Any]:
    yield 1
    await pause()
    raise GeneratorExit


TWINS: list[tuple[SyncBody, AsyncBody]] = [
    (plain, plain_async),
    (echo, echo_async),
    (catching, catching_async),
    (cleaning, cleaning_async),
    (failing, failing_async),
    (translating, translating_async),
    (swallowing, swallowing_async),
    (empty, empty_async),
    (stopping, stopping_async),
    (leaving, leaving_async),
]

COMMANDS: dict[str, Callable[[Any], Any]] = {
    "next": next,
    "send 0": lambda g: g.send(0),
    "send None": lambda g: g.send(None),
    "throw KeyError(1)": lambda g: g.throw(KeyError(1)),
    "throw KeyError": lambda g: g.throw(KeyError),
    "throw GeneratorExit": lambda g: g.throw(GeneratorExit),
    "throw 7": lambda g: g.throw(7),
    "close": lambda g: g.close(),
}


def transcript(generator: Any, commands: tuple[str, ...], done: list[str]) -> list[object]:
    """What comes of each command, and what an observer sees afterwards."""
    lines: list[object] = []
    for command in commands:
        try:
            outcome: object = ("gave", COMMANDS[command](generator))
        except StopIteration as exc:
            outcome = ("stopped", exc.value)
        except BaseException as exc:
            text = str(exc).replace("async ", "")  # as in "async generator raised StopIteration"
            outcome = (type(exc), text, type(exc.__cause__), type(exc.__context__))
        state = inspect.getgeneratorstate(generator)
        flags = (generator.gi_running, generator.gi_suspended, generator.gi_frame is None)
        lines.append((command, outcome, state, flags, tuple(done)))
    return lines


@pytest.mark.parametrize("twins", TWINS, ids=[sync.__name__ for sync, _ in TWINS])
def test_every_program_as_the_native_twin(way: Way, twins: tuple[SyncBody, AsyncBody]) -> None:
    """Whatever three steps are taken, each has the outcome that it has on a sync generator with the same body,
    and `inspect` and the `gi_` attributes agree after each (A1, A2).
    """
    native_body, driven_body = twins
    with way.runner() as runner:
        for commands in itertools.product(COMMANDS, repeat=3):
            NATIVE.clear()
            DRIVEN.clear()
            native, driven = native_body(), runner.drive(driven_body(way.pause))
            assert transcript(driven, commands, DRIVEN) == transcript(native, commands, NATIVE)
            with suppress(ValueError):  # what `translating` makes of GeneratorExit
                driven.close()
            with suppress(ValueError):
                native.close()
