"""Step and Outcome: one command to a generator, and what came of it.

A step is one of next, send, throw and close; its outcome is that the generator yielded, returned or raised. Both are
frozen values, shared by hosts, transcripts and strategies. Nothing here runs a generator.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias, final

__all__ = ("CLOSE", "NEXT", "Operation", "Outcome", "Raised", "Returned", "Step", "Yielded", "stop_value")


class Operation(enum.Enum):
    """The four commands that a generator understands."""

    NEXT = "next"
    SEND = "send"
    THROW = "throw"
    CLOSE = "close"

    def __repr__(self) -> str:
        return str(self)


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One command: the operation, and the value to send or the exception to throw."""

    operation: Operation
    argument: object = None


NEXT: Final = Step(Operation.NEXT)
CLOSE: Final = Step(Operation.CLOSE)


@final
@dataclass(frozen=True, slots=True)
class Yielded:
    """The step ended at a yield; the generator is suspended there."""

    value: object


@final
@dataclass(frozen=True, slots=True)
class Returned:
    """The step ran to the generator's end; the value is None unless it returned one (PEP 828)."""

    value: object = None


@final
@dataclass(frozen=True, slots=True)
class Raised:
    """The step ended with an exception; the generator is finished."""

    error: BaseException


Outcome: TypeAlias = Yielded | Returned | Raised


def stop_value(exc: StopAsyncIteration, /) -> object:
    """The return value that a StopAsyncIteration carries, before and after Python 3.16.

    Args:
        exc: the exception as it came out of `anext()`, `asend()` or `athrow()`.

    Returns:
        `exc.value` where there is one, as PEP 828 gives it; else the first argument of the exception; else None.

    >>> stop_value(StopAsyncIteration("done")), stop_value(StopAsyncIteration())
    ('done', None)
    """
    try:
        return exc.value  # type: ignore[attr-defined, unused-ignore]  # typeshed has it with PEP 828 (3.16)
    except AttributeError:
        return exc.args[0] if exc.args else None
