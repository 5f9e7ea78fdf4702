"""Step and Outcome are values; stop_value reads a StopAsyncIteration."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from asyncgen_tools import stop_value
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Raised, Returned, Step, Yielded

VALUES = [NEXT, CLOSE, Step(Operation.SEND, 0), Yielded(1), Yielded((1, 2)), Returned(), Returned("value")]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_steps_and_outcomes_are_values(value: Any) -> None:
    """Steps and outcomes are equal by what they hold, hashable, frozen, slotted, and can be pickled."""
    copy = pickle.loads(pickle.dumps(value))  # noqa: S301  # our own
    assert copy == value
    assert hash(copy) == hash(value)
    for name in [*(field.name for field in dataclasses.fields(value)), "another"]:
        with pytest.raises((AttributeError, TypeError)):
            setattr(value, name, 1)
    assert not hasattr(value, "__dict__")


def test_kinds_differ() -> None:
    """Outcomes of different kinds are never equal, whatever they hold; no more are steps."""
    error = ValueError()
    different = [*VALUES, Step(Operation.THROW, error), Raised(error), Returned(1), Step(Operation.SEND, None)]
    for index, value in enumerate(different):
        assert different.index(value) == index


def test_next_and_close_need_no_argument() -> None:
    """NEXT and CLOSE are the two steps without an argument."""
    assert (NEXT.operation, NEXT.argument) == (Operation.NEXT, None)
    assert (CLOSE.operation, CLOSE.argument) == (Operation.CLOSE, None)
    assert [operation.value for operation in Operation] == ["next", "send", "throw", "close"]


def test_raised_is_the_same_object() -> None:
    """An outcome holds the very exception that was raised."""
    error = ValueError()
    assert Raised(error).error is error
    assert Raised(error) != Raised(ValueError())


VALUE_ERROR = ValueError()


@pytest.mark.parametrize(
    "args, value",
    [
        ((), None),
        ((None,), None),
        ((0,), 0),
        (("done",), "done"),
        (((1, 2),), (1, 2)),
        ((VALUE_ERROR,), VALUE_ERROR),
        (((),), ()),
        ((1, 2), 1),
    ],
    ids=repr,
)
def test_stop_value_before_pep_828(args: tuple[object, ...], value: object) -> None:
    """Without the attribute that PEP 828 adds, the value is the first argument, else None; a tuple is one value."""
    assert stop_value(StopAsyncIteration(*args)) is value


def test_stop_value_with_pep_828() -> None:
    """Where the exception has a `value`, that is it, whatever its arguments."""

    class Later(StopAsyncIteration):  # what 3.16's own will be
        """Has PEP 828's attribute."""

        value = "the value"

    assert stop_value(Later("an argument")) == "the value"


def test_stop_value_of_a_raised_one() -> None:
    """It reads an exception as it comes out of a hand-driven `anext`."""

    class Rows:
        """An async iterator that ends with a value."""

        def __aiter__(self) -> Rows:
            return self

        async def __anext__(self) -> int:
            raise StopAsyncIteration("end")

    with pytest.raises(StopAsyncIteration) as stopped:
        anext(Rows()).__await__().__next__()
    assert stop_value(stopped.value) == "end"
