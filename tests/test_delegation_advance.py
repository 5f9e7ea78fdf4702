"""Random programs give the same trace by CPython's sync `yield from` and by `yield_from`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given, settings

from asyncgen_tools.steps import Operation, Step
from asyncgen_tools.strategies import operations, programs, scripts
from asyncgen_tools.testing import Notes, Program, Script, arecord, assert_same_trace, record
from tests.delegation_helpers import by_hand
from tests.test_strategies import QUIET

if TYPE_CHECKING:
    from asyncgen_tools.testing import Trace

THOROUGH = settings(QUIET, max_examples=200)
#: StopIteration, too, which is thrown into an async generator as StopAsyncIteration.
OPERATIONS = operations(errors=(KeyError, ValueError, StopIteration, GeneratorExit))
SCRIPTS = scripts(programs(min_statements=1), operations=OPERATIONS, max_operations=8)


def delegated(script: Script) -> Trace:
    """The trace of the delegating rendering."""
    notes = Notes()
    found: Trace = by_hand(arecord(script.program.make("delegating", notes), script.operations, notes=notes))
    return found


@given(SCRIPTS)
# Thrown in before the first step, CPython 3.12 and later let out StopAsyncIteration as it is, with its argument.
@example(Script(Program(), (Step(Operation.THROW, StopIteration),)))
@THOROUGH
def test_sync_yield_from(script: Script) -> None:
    """B2 to B16: a random tree of generators gives the trace that CPython's sync `yield from` gives."""
    notes = Notes()
    sync = record(script.program.make("sync", notes), script.operations, notes=notes)
    assert_same_trace(sync, delegated(script))
