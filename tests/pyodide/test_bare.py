"""The front door and the bare backend: what works without sockets, threads or an event loop.

Written without pytest, so that the same file runs under pyodide (see run.py) and in the ordinary test run.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asyncgen_tools import drive, driven
from asyncgen_tools.errors import BareSuspensionError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


async def doubler() -> AsyncGenerator[int, int | None]:
    """Yield twice what was sent, and 0 for nothing."""
    sent = None
    while True:
        sent = yield 2 * (sent or 0)


class _Pause:
    def __await__(self) -> Generator[str, None, None]:
        yield "anything that an event loop would understand"


def test_items_arrive_in_order() -> None:
    """A `for` loop over a driven generator sees each item once, in order."""

    async def count() -> AsyncGenerator[int, None]:
        for number in range(5):
            yield number

    assert list(drive(count(), backend="bare")) == [0, 1, 2, 3, 4]


def test_send_reaches_the_yield() -> None:
    """`send(v)` makes v the value of the yield at which the generator is suspended."""
    generator = drive(doubler(), backend="bare")
    assert next(generator) == 0
    assert [generator.send(number) for number in (1, 20, 300)] == [2, 40, 600]
    generator.close()


def test_throw_reaches_the_yield() -> None:
    """An exception thrown in is raised at the yield, and what the generator yields next is the result."""

    async def catcher() -> AsyncGenerator[str, None]:
        try:
            yield "ready"
        except KeyError as error:
            yield f"caught {error.args[0]}"

    generator = drive(catcher(), backend="bare")
    assert next(generator) == "ready"
    assert generator.throw(KeyError("key")) == "caught key"
    generator.close()


def test_break_runs_cleanup() -> None:
    """Closing runs the generator's `finally` blocks at once."""
    events: list[str] = []

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            events.append("cleaned up")

    with drive(source(), backend="bare") as generator:
        assert next(generator) == 1
        assert events == []
    assert events == ["cleaned up"]


def test_driven_is_a_generator_function() -> None:
    """A decorated async generator function is called and looped over like a plain one."""

    @driven(backend="bare")
    async def letters(word: str) -> AsyncGenerator[str, None]:
        for letter in word:
            yield letter

    assert "".join(letters("abc")) == "abc"


def test_suspension_is_a_clear_error() -> None:
    """Without an event loop, a step that waits for something is an error at that step, not a hang."""

    async def waits() -> AsyncGenerator[int, None]:
        yield 1
        await _Pause()
        yield 2

    generator = drive(waits(), backend="bare")
    assert next(generator) == 1
    try:
        next(generator)
    except BareSuspensionError as error:
        assert "bare" in str(error)
    else:
        raise AssertionError("the step should have failed")


def test_pyodide_loads_no_other_library() -> None:
    """Under pyodide, where neither is installed, nothing asked for anyio or trio."""
    if sys.platform == "emscripten":
        assert not {"anyio", "trio"} & set(sys.modules)
