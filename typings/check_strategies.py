"""The types of asyncgen_tools.strategies, and of the programs and traces that they are about."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, assert_type

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from asyncgen_tools.delegating_generator import DelegatingGenerator
from asyncgen_tools.steps import NEXT, Step
from asyncgen_tools.strategies import GeneratorStateMachine, operations, programs, scripts
from asyncgen_tools.testing import Notes, Program, Script, Trace, TraceStep, arecord, assert_same_trace, record
from asyncgen_tools.testing.statements import Body, TryExcept, Yield


def strategies() -> None:
    assert_type(operations(values=st.text(), errors=[KeyError, ValueError()]), SearchStrategy[Step])
    assert_type(programs(max_depth=1, min_statements=1, errors=["OSError"]), SearchStrategy[Program])
    assert_type(scripts(), SearchStrategy[Script])
    assert_type(scripts(programs(), operations=operations(), max_operations=2), SearchStrategy[Script])
    operations([KeyError])  # type: ignore[arg-type, call-arg]
    operations(errors=["KeyError"])  # type: ignore[list-item]
    programs(2)  # type: ignore[call-arg]
    programs(errors=[OSError])  # type: ignore[list-item]
    scripts(operations())  # type: ignore[arg-type]


def running() -> None:
    program = Program((Yield(1), TryExcept((Yield(),), "OSError")))
    assert_type(program.body, Body)
    assert_type(program.make("sync"), Generator[int, Any, Any])
    assert_type(program.make("async", Notes()), AsyncGenerator[int, Any])
    assert_type(program.make("delegating"), DelegatingGenerator[int, Any, Any])
    assert_type(program.source("sync"), str)
    trace = record(program.make("sync"), [NEXT])
    assert_type(trace, Trace)
    assert_type(trace.steps, tuple[TraceStep, ...])
    assert_same_trace(trace, trace, allowed=["message-texts"])
    Program([Yield(1)])  # type: ignore[arg-type]
    Program((1,))  # type: ignore[arg-type]
    program.make("threaded")  # type: ignore[call-overload]
    record(program.make("async"), [NEXT])  # type: ignore[arg-type]
    record(program.make("sync"), ["next"])  # type: ignore[list-item]
    assert_same_trace(trace)  # type: ignore[call-arg]
    program.body = ()  # type: ignore[misc]


async def running_async(program: Program) -> None:
    assert_type(await arecord(program.make("async"), [NEXT]), Trace)
    await arecord(program.make("sync"), [NEXT])  # type: ignore[arg-type]


class Machine(GeneratorStateMachine):
    """Overrides what is to be overridden, with what it is to be."""

    backend = "trio"
    operations = operations(errors=[])

    async def make(self) -> AsyncGenerator[int, None]:
        yield 1

    def model(self) -> Generator[int, Any, None]:
        yield 1


class Wrong(GeneratorStateMachine):
    """Overrides it with what it is not to be."""

    backend = 1  # type: ignore[assignment]

    def make(self) -> int:  # type: ignore[override]
        return 1
