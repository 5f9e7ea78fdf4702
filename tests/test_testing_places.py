"""Places: the line of the user's code where a generator stands, however deep it waits."""

from __future__ import annotations

import contextlib
import types
from typing import TYPE_CHECKING, Any

from asyncgen_tools.testing import Place
from asyncgen_tools.testing.places import line_at, name_of, suspended_at, user_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@types.coroutine
def wait() -> Generator[None, None, None]:
    """Suspend once."""
    yield


async def inner() -> None:
    """Wait, two levels below a generator."""
    await wait()


async def outer() -> AsyncGenerator[int, None]:
    """Yield, then wait."""
    yield 1
    await inner()


def iter_nothing() -> Generator[int]:
    """End at once."""
    yield from ()


def line_of(generator: object) -> tuple[str, int] | None:
    """Function and line, counted from the function's first, where a generator stands."""
    place = suspended_at(generator)
    functions = {"outer": outer, "inner": inner, "wait": wait}
    if place is None:
        return None
    function: Any = functions[place.function]
    return place.function, place.line - function.__code__.co_firstlineno


def test_before_and_after() -> None:
    """A generator that has not begun, or has ended, stands nowhere."""
    local = 1

    async def closure() -> AsyncGenerator[int, None]:
        yield local

    generator = outer()
    assert suspended_at(generator) is None
    assert suspended_at(closure()) is None
    generator.aclose().close()
    stopped = iter_nothing()
    assert list(stopped) == []
    assert suspended_at(stopped) is None
    assert suspended_at(object()) is None


def test_at_a_yield() -> None:
    """At a yield it stands on that line."""
    generator = outer()
    with contextlib.suppress(StopIteration):
        generator.__anext__().send(None)
    assert line_of(generator) == ("outer", 2)


def test_while_it_waits() -> None:
    """While it awaits something, it stands where the innermost coroutine does."""
    generator = outer()
    with contextlib.suppress(StopIteration):
        generator.__anext__().send(None)
    step = generator.__anext__()
    step.send(None)
    assert line_of(generator) == ("wait", 3)
    with contextlib.suppress(StopIteration, StopAsyncIteration):  # given up, it would leave that running
        step.send(None)


def test_user_frame_is_the_users() -> None:
    """The frame found is outside of this package and of contextlib; its line can be told from what is noted of it."""

    @contextlib.contextmanager
    def manager() -> Generator[tuple[types.CodeType, int, int]]:
        frame = user_frame()
        yield frame.f_code, frame.f_lasti, frame.f_lineno

    with manager() as (code, instruction, line):
        assert code.co_name == "manager"
    assert line_at(code, instruction) == line > code.co_firstlineno
    assert line_at(code, 10_000) == code.co_firstlineno


def test_names() -> None:
    """A generator is named with its module; what has no name of its own, by its class."""
    assert name_of(outer()) == f"{__name__}.outer"
    assert name_of(Place("f.py", 1, "g")) == "asyncgen_tools.testing.places.Place"
    assert str(Place("f.py", 1, "g")) == "f.py:1 in g"
