"""Steps and outcomes are values: exact types in, exact types out, and never changed."""

from __future__ import annotations

from typing import assert_type

from asyncgen_tools.steps import CLOSE, NEXT, Operation, Outcome, Raised, Returned, Step, Yielded, stop_value

assert_type(NEXT, Step)
assert_type(CLOSE.operation, Operation)
assert_type(Step(Operation.SEND, "value").argument, object)
assert_type(stop_value(StopAsyncIteration("value")), object)


def narrowed(outcome: Outcome) -> object:
    """The three outcomes are all there are: a match over them needs no other case."""
    match outcome:
        case Yielded(value) | Returned(value):
            return value
        case Raised(error):
            assert_type(error, BaseException)
            return error


NEXT.argument = 1  # type: ignore[misc]  # frozen
Step("next")  # type: ignore[arg-type]  # an Operation, not its name
Raised("error")  # type: ignore[arg-type]
stop_value(StopIteration())  # type: ignore[arg-type]  # a generator's end is not an async generator's
stop_value(exc=StopAsyncIteration())  # type: ignore[call-arg]  # positional only


class Longer(Step):  # type: ignore[misc]  # final
    """A Step cannot be subclassed."""
