"""The table of CPython's own differences: each is real, each is needed, and what is not in it is found."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from asyncgen_tools.errors import ArgumentValueError
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Step
from asyncgen_tools.testing import DIFFERENCES, Notes, Program, Trace, arecord, assert_same_trace, get_backend, record
from asyncgen_tools.testing.statements import Body, Loop, Raise, TryExcept, TryFinally, Yield

if TYPE_CHECKING:
    from collections.abc import Generator

#: For each difference, a program and operations in which it shows.
SHOWN: dict[str, tuple[Body, tuple[Step, ...]]] = {
    "message-texts": ((Raise("StopIteration"),), (NEXT,)),
    "throw-after-end": ((), (NEXT, Step(Operation.THROW, ValueError))),
    "after-ignored-exit": ((Loop(3, (TryExcept((Yield(),), "GeneratorExit"),)),), (NEXT, CLOSE, CLOSE)),
}


def traces(body: Body, operations: tuple[Step, ...]) -> tuple[Trace, Trace]:
    """Of the sync rendering, and of the native async one."""
    notes, anotes = Notes(), Notes()
    agenerator = Program(body).make("async", anotes)

    sync = record(Program(body).make("sync", notes), operations, notes=notes)
    return sync, get_backend("bare").run(partial(arecord, agenerator, operations, notes=anotes))


def test_each_difference_is_shown() -> None:
    """Every difference of the table has a program here that shows it."""
    assert set(SHOWN) == set(DIFFERENCES) == {difference.name for difference in DIFFERENCES.values()}


@pytest.mark.parametrize("name", SHOWN)
def test_differences_are_real(name: str) -> None:
    """CPython's own generators differ in just this way: nothing else is needed to make them equal but the messages."""
    sync, native = traces(*SHOWN[name])
    assert_same_trace(sync, native)
    others = [other for other in DIFFERENCES if other != name]
    with pytest.raises(AssertionError, match="The traces differ"):
        assert_same_trace(sync, native, allowed=others)


def test_the_message_shows_where() -> None:
    """The error shows both traces, marks the first difference, and names what was allowed."""

    def ones() -> Generator[int, None, None]:
        yield 1
        yield 1

    def twos() -> Generator[int, None, None]:
        yield 1
        yield 2

    one, other = (record(generator, [NEXT, NEXT]) for generator in (ones(), twos()))
    with pytest.raises(AssertionError) as caught:
        assert_same_trace(one, other, allowed=["message-texts"])
    assert str(caught.value).splitlines() == [
        "The traces differ from operation 2 on.",
        "one:",
        "  next -> yielded 1",
        "> next -> yielded 1",
        "the other:",
        "  next -> yielded 1",
        "> next -> yielded 2",
        "Allowed differences: message-texts.",
    ]


@pytest.mark.parametrize("body", [(Yield(2),), (TryFinally((Yield(1),)),), (Raise("KeyError"),), ()], ids=repr)
def test_other_differences_are_found(body: Body) -> None:
    """Another item, note, error or end is a difference, whatever is allowed."""
    one, _ = traces((Yield(1),), (NEXT, CLOSE))
    other, _ = traces(body, (NEXT, CLOSE))
    with pytest.raises(AssertionError):
        assert_same_trace(one, other)


def test_lengths_are_compared() -> None:
    """A trace that is the beginning of another one differs from it."""
    one, _ = traces((Yield(1),), (NEXT,))
    other, _ = traces((Yield(1),), (NEXT, NEXT))
    with pytest.raises(AssertionError, match="from operation 2 on"):
        assert_same_trace(one, other)


def test_allowed_differences_are_known() -> None:
    """A name that is not in the table is a ValueError, which says which names are."""
    one, other = traces((), ())
    with pytest.raises(ArgumentValueError, match=r"no difference 'message-text'.* are: message-texts, throw-after-end"):
        assert_same_trace(one, other, allowed=["message-text"])


def test_an_error_in_a_send_before_the_start_ends_nothing() -> None:
    """A generator that refuses a value before its start has not ended: what is thrown then is compared."""
    operations = (Step(Operation.SEND, 1), Step(Operation.THROW, ValueError))
    sync, native = traces((Yield(1),), operations)
    assert_same_trace(sync, native)
    assert "raised ValueError" in str(native.steps[1])
