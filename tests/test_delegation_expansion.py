"""Random programs that wait give the same trace by `yield_from` and by PEP 828's expansion of `yield from`.

The expansion runs in CPython's own async generators, in which each level awaits the next: whatever is thrown in where
one waits, as cancellation is, takes its way through all of them.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings, strategies as st

from asyncgen_tools.steps import CLOSE, Operation, Step
from asyncgen_tools.strategies import operations, programs
from asyncgen_tools.testing import Notes, Program
from asyncgen_tools.testing.statements import Delegate
from asyncgen_tools.testing.traces import seen
from tests.test_strategies import QUIET

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from asyncgen_tools.testing.statements import Rendering

    Interruption = type[BaseException] | None
    Script = list[tuple[Step, list[Interruption]]]


@types.coroutine
def wait() -> Generator[str, object, None]:
    """Suspend as an event loop's futures do."""
    yield "waits"


def trace(program: Program, script: Script, rendering: Rendering) -> list[Any]:
    """What a program writes down and hands out.

    The script is of operations, each with a list of what happens where the program waits: an exception is thrown, or
    nothing is.
    """
    notes = Notes()
    make: Any = program.make
    generator = make(rendering, notes, checkpoint=wait)
    found: list[Any] = []
    for step, interruptions in [*script, (CLOSE, [])]:
        try:
            found.extend(waits(generator, step, interruptions))
        except BaseException as error:
            found += [seen(error, None), notes.take()]
            break
        found.append(notes.take())
    notes.finish()
    return found


def waits(generator: Any, step: Step, interruptions: list[Interruption]) -> Iterator[Any]:
    """Take a step; gives what is handed out at each suspension, and at last the item."""
    kind: Any = step.argument
    match step.operation:
        case Operation.THROW:
            awaitable = generator.athrow(kind("thrown"))
        case Operation.CLOSE:
            awaitable = generator.aclose()
        case _:
            awaitable = generator.asend(step.argument)
    if step.operation in {Operation.THROW, Operation.CLOSE} and sys.version_info < (3, 13):
        interruptions = []  # until then CPython left generators running whose athrow() was thrown into
    try:
        yield awaitable.send(None)
        for error in interruptions:
            yield awaitable.send(None) if error is None else awaitable.throw(error("interrupted"))
        while True:
            yield awaitable.send(None)
    except StopIteration as stop:
        yield ("item", stop.value)


STEPS = operations(errors=(KeyError, ValueError, StopAsyncIteration, GeneratorExit))
INTERRUPTED = st.lists(
    st.tuples(STEPS, st.lists(st.sampled_from((None, KeyError, ValueError)), max_size=3)), min_size=1, max_size=8
)


@given(program=programs(), script=INTERRUPTED)
@settings(QUIET, max_examples=100)
def test_expansion(program: Program, script: Script) -> None:
    """B2 to B18: a random tree of generators that wait gives the trace that PEP 828's own expansion gives."""
    # Delegated to, because the return value of a native generator is seen by its expansion only.
    outer = Program((Delegate(program.body),))
    assert trace(outer, script, "delegating") == trace(outer, script, "async")
