"""The strategies: what they generate, how it shrinks, and that planted bugs are found by it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import unittest
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings, strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.stateful import rule, run_state_machine_as_test  # pyright: ignore[reportUnknownVariableType]  # theirs

from asyncgen_tools import yield_from
from asyncgen_tools.errors import LeakError, TraceError
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Step, Yielded
from asyncgen_tools.strategies import GeneratorStateMachine, Worked, operations, programs, scripts
from asyncgen_tools.testing import (
    Backend,
    Notes,
    Program,
    Script,
    arecord,
    assert_same_trace,
    installed_backends,
    record,
)
from asyncgen_tools.testing.statements import (
    Await,
    Body,
    Delegate,
    Loop,
    Raise,
    Return,
    TryExcept,
    TryFinally,
    With,
    Yield,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

    from asyncgen_tools.testing.statements import Statement

QUIET = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
KINDS = (Yield, Await, Raise, Delegate, TryExcept, TryFinally, With, Loop, Return)


def depth(body: Body) -> int:
    """How deep blocks are nested."""
    inner = [
        part for statement in body for part in (getattr(statement, name, ()) for name in ("body", "handler", "cleanup"))
    ]
    blocks = any(hasattr(statement, "body") for statement in body)
    return max([0, *map(depth, inner)]) + blocks


def kinds(body: Body) -> set[type[Statement]]:
    """The classes of all statements."""
    found = {type(statement) for statement in body}
    for statement in body:
        for name in ("body", "handler", "cleanup"):
            found |= kinds(getattr(statement, name, ()))
    return found


# --- what is generated


def test_every_statement_is_generated() -> None:
    """Programs hold every kind of statement."""
    found: set[type[Statement]] = set()

    @given(programs())
    @QUIET
    def examples(program: Program) -> None:
        found.update(kinds(program.body))

    examples()
    assert found == set(KINDS)


@given(programs(max_depth=1, min_statements=1, max_statements=2))
@QUIET
def test_programs_stay_in_their_limits(program: Program) -> None:
    """The limits of depth and size hold; a returning subgenerator has its return beyond them."""
    assert 1 <= len(program.body) <= 2
    assert depth(program.body) <= 1


@given(programs(awaits=False, delegates=False, return_values=False, errors=()))
@QUIET
def test_programs_without(program: Program) -> None:
    """What is turned off is not generated."""
    source = program.source("sync")
    assert not {Await, Delegate} & kinds(program.body)
    assert "raise" not in source
    assert "checkpoint" not in source
    assert not any(line.strip().startswith("return ") for line in source.splitlines())


@given(operations(values=st.just("value"), errors=[KeyError]))
@QUIET
def test_operations_are_of_four_kinds(step: Step) -> None:
    """Operations send and throw what they are given."""
    assert step in {NEXT, CLOSE, Step(Operation.SEND, "value"), Step(Operation.THROW, KeyError)}


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_is_generated(operation: Operation) -> None:
    """All four operations are generated, throw only where there are errors."""
    strategy = operations()
    assert find(strategy, lambda step: step.operation is operation, settings=QUIET).operation is operation


@given(scripts(min_operations=2, max_operations=3))
@QUIET
def test_scripts_stay_in_their_limits(script: Script) -> None:
    """A script has as many operations as it may."""
    assert 2 <= len(script.operations) <= 3


@given(scripts(st.just(Program()), operations=st.just(CLOSE)))
@QUIET
def test_scripts_take_strategies(script: Script) -> None:
    """The programs and the operations of scripts can be given."""
    assert script.program == Program()
    assert set(script.operations) == {CLOSE}


@pytest.mark.parametrize(
    "strategy",
    [programs(max_depth=-1), programs(min_statements=-1), programs(min_statements=2, max_statements=1)],
    ids=repr,
)
def test_impossible_limits(strategy: st.SearchStrategy[Program]) -> None:
    """Limits that nothing can hold are refused with their values."""
    with pytest.raises(InvalidArgument, match="0 <= min_statements <= max_statements"):
        find(strategy, lambda _: True, settings=QUIET)


def test_strategies_have_short_names() -> None:
    """The repr of a strategy is what made it, and not the whole tree of what it consists of."""
    assert repr(programs(max_depth=2)) == "programs(max_depth=2)"
    assert repr(scripts(max_operations=3)) == "scripts(None, max_operations=3)"


def test_shrinks_to_the_simplest() -> None:
    """The simplest of all is the empty program with one `next`; among programs that yield, one `yield 0`."""
    assert find(scripts(), lambda _: True, settings=QUIET) == Script(Program(), (NEXT,))
    assert find(programs(), lambda program: Yield in kinds(program.body), settings=QUIET) == Program((Yield(0),))


# --- planted bugs


class Wrapper:
    """A decorator's wrapper around an async generator that hands on everything."""

    def __init__(self, wrapped: AsyncGenerator[Any, Any]) -> None:
        self.wrapped = wrapped

    def __aiter__(self) -> Wrapper:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Any]:
        return self.wrapped.__anext__()

    def asend(self, value: Any) -> Coroutine[Any, Any, Any]:
        """Hand it on."""
        return self.wrapped.asend(value)

    def athrow(self, error: Any) -> Coroutine[Any, Any, Any]:
        """Hand it on."""
        return self.wrapped.athrow(error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Hand it on."""
        return self.wrapped.aclose()


class DropsSend(Wrapper):
    """Loses what is sent."""

    def asend(self, value: Any) -> Coroutine[Any, Any, Any]:  # noqa: ARG002  # that is the bug
        """Only go on."""
        return self.wrapped.__anext__()


class KeepsOpen(Wrapper):
    """Closes nothing."""

    async def aclose(self) -> None:
        """Do nothing."""


STEPS_TAKEN: ContextVar[int] = ContextVar("STEPS_TAKEN", default=0)


class LeaksContext(Wrapper):
    """Changes a context variable of its consumer."""

    async def __anext__(self) -> Any:
        STEPS_TAKEN.set(STEPS_TAKEN.get() + 1)
        return await self.wrapped.__anext__()


async def loses_result(subgenerator: Any) -> None:
    """A delegation without a result."""
    await yield_from(subgenerator)


def by_hand(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not suspend, in a context of its own."""
    try:
        copy_context().run(coroutine.send, None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it suspended")


def check(
    script: Script,
    *,
    wrapper: Callable[[Any], Any] = lambda generator: generator,
    delegate: Callable[[Any], Awaitable[object]] | None = None,
) -> None:
    """Hold a delegating generator, wrapped, against a sync one."""
    notes, anotes = Notes(), Notes()
    sync = record(script.program.make("sync", notes), script.operations, notes=notes)
    wrapped = wrapper(script.program.make("delegating", anotes, delegate=delegate))
    assert_same_trace(sync, by_hand(arecord(wrapped, script.operations, notes=anotes)))


BUGS: dict[str, dict[str, Any]] = {
    "drops what is sent": {"wrapper": DropsSend},
    "does not forward aclose": {"wrapper": KeepsOpen},
    "leaks a context variable": {"wrapper": LeaksContext},
    "loses the return value": {"delegate": loses_result},
}


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: str, number: int) -> None:
    """Each planted bug is found within 1,000 examples, and shrinks to at most 3 operations and 8 lines of source."""
    failing: list[Script] = []

    def examples(script: Script) -> None:
        try:
            check(script, **BUGS[bug])
        except AssertionError:
            failing.append(script)
            raise

    thousand = settings(QUIET, max_examples=1000, derandomize=False, phases=[Phase.generate, Phase.shrink])
    with pytest.raises(TraceError):
        seed(number)(thousand(given(scripts())(examples)))()
    assert len(failing[-1].operations) <= 3
    assert len(repr(failing[-1].program).splitlines()) <= 8


@given(scripts())
@QUIET
def test_no_bug_is_found_where_there_is_none(script: Script) -> None:
    """A wrapper that hands on everything, and the library's own delegation, are the same as a sync generator."""
    check(script, wrapper=Wrapper)


# --- the state machine


async def counting(limit: int = 3) -> AsyncGenerator[int, int | None]:
    """Counts up by 1, or by what is sent."""
    number = 0
    while number < limit:
        number += (yield number) or 1


def counting_model(limit: int = 3) -> Generator[int, int | None, None]:
    """The same as a sync generator."""
    number = 0
    while number < limit:
        number += (yield number) or 1


class Counting(GeneratorStateMachine):
    """Right."""

    backend: ClassVar[str] = "bare"

    def make(self) -> AsyncGenerator[Any, Any]:
        """Counts."""
        return counting()

    def model(self) -> Generator[Any, Any, Any] | None:
        """Counts, too."""
        return counting_model()


class CountingOnAsyncio(Counting):
    """Right, too."""

    backend: ClassVar[str] = "asyncio"


class CountingWrong(Counting):
    """Counts one too far."""

    def make(self) -> AsyncGenerator[Any, Any]:
        """Counts too far."""
        return counting(4)


class CountingUnmodelled(GeneratorStateMachine):
    """No model, and no error of its own."""

    backend: ClassVar[str] = "bare"

    def make(self) -> AsyncGenerator[Any, Any]:
        """Counts."""
        return counting()


async def failing() -> AsyncGenerator[int, None]:
    """Fails."""
    yield 1
    raise ValueError("of its own")


class Failing(CountingUnmodelled):
    """No model, and an error of its own."""

    def make(self) -> AsyncGenerator[Any, Any]:
        """See there."""
        return failing()


async def leaking() -> AsyncGenerator[int, None]:
    """Leaves an async generator unfinished."""
    inner = counting()
    KEPT_OPEN.append(inner)
    yield await anext(inner)


KEPT_OPEN: list[AsyncGenerator[int, Any]] = []


class Leaking(CountingUnmodelled):
    """Leaks."""

    def make(self) -> AsyncGenerator[Any, Any]:
        """See there."""
        return leaking()

    def teardown(self) -> None:
        """Let go of what was leaked afterwards."""
        try:
            super().teardown()
        finally:
            for inner in KEPT_OPEN:
                by_hand(inner.aclose())
            KEPT_OPEN.clear()


MACHINE = settings(QUIET, max_examples=30, stateful_step_count=20)


@pytest.mark.parametrize("machine", [Counting, CountingOnAsyncio, CountingUnmodelled])
def test_machine_passes_what_is_right(machine: type[GeneratorStateMachine]) -> None:
    """Generators that do what their model does, and those that raise nothing of their own, pass."""
    run_state_machine_as_test(machine, settings=MACHINE)
    case: Any = getattr(machine, "TestCase")  # noqa: B009  # to which hypothesis gives no type
    assert issubclass(case, unittest.TestCase)


@pytest.mark.parametrize(
    "machine, error, words",
    [
        (CountingWrong, TraceError, "The traces differ"),
        (Failing, TraceError, "there is no model"),
        pytest.param(Leaking, LeakError, "left unfinished", marks=pytest.mark.asyncgen_leaks("off")),
        (GeneratorStateMachine, NotImplementedError, "has no make"),
    ],
)
def test_machine_finds_what_is_wrong(machine: type[GeneratorStateMachine], error: type[Exception], words: str) -> None:
    """Another item than the model's, an error without a model, a leak, and a machine that makes nothing are found."""
    with pytest.raises(error, match=words):
        run_state_machine_as_test(machine, settings=MACHINE)


def test_changed_context_is_found() -> None:
    """An operation that changes a context variable of its consumer is wrong, with or without a model."""
    variable: ContextVar[int] = ContextVar("variable")

    def changes() -> Generator[int, Any, None]:
        variable.set(1)
        yield 1

    worked = Worked(changes(), None, Context())
    with pytest.raises(TraceError, match="changed context variables"):
        Context().run(worked.work, NEXT)
    worked.finish()


VARIABLE: ContextVar[int] = ContextVar("VARIABLE", default=0)


class Forwarding:
    """Forwards everything, and leaves a context variable changed by it."""

    def __init__(self) -> None:
        self.inner = counting()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Any:
        return self.asend(None)

    async def asend(self, value: int | None) -> int:
        """Forward, and leave the variable changed."""
        VARIABLE.set(VARIABLE.get() + 1)
        return await self.inner.asend(value)

    def athrow(self, error: BaseException) -> Any:
        """Forward."""
        return self.inner.athrow(error)

    def aclose(self) -> Any:
        """Forward."""
        return self.inner.aclose()


@pytest.mark.parametrize("row", installed_backends(), ids=lambda row: row.id)
def test_changed_context_of_an_async_consumer_is_found(row: Backend) -> None:
    """So is one that an async generator changes: an async consumer has its context, though a driving one has not."""

    class Changing(Counting):
        backend = row.id

        def make(self) -> AsyncGenerator[Any, Any]:
            return cast("AsyncGenerator[Any, Any]", Forwarding())

    with pytest.raises(TraceError, match=r"(?s)changed context variables.*next -> yielded 0 .*: VARIABLE\n"):
        run_state_machine_as_test(Changing, settings=MACHINE)
    assert VARIABLE.get() == 0


@pytest.mark.parametrize("row", installed_backends(), ids=lambda row: row.id)
def test_rules_of_ones_own(row: Backend) -> None:
    """A rule on the bundle takes steps by `work`, which gives what came of each; the model takes them, too."""
    ends: list[object] = []

    class Emptied(Counting):
        backend = row.id

        @rule(generator=GeneratorStateMachine.opened)
        def empty(self, generator: Worked) -> None:
            while isinstance((taken := generator.work(NEXT)).outcome, Yielded):
                pass
            assert (generator.generator.gi_frame, generator.model.gi_frame) == (None, None)  # type: ignore[attr-defined, union-attr]
            ends.append(taken.outcome)

    run_state_machine_as_test(Emptied, settings=MACHINE)
    assert set(map(str, ends)) == {"Returned(value=None)"}


# --- hypothesis' entry point


@pytest.mark.parametrize("first", ["hypothesis", "asyncgen_tools.strategies"])
def test_entry_point(first: str) -> None:
    """Hypothesis loads the strategies when it is imported, also where they are what imports it."""
    script = (
        f"import importlib; importlib.import_module({first!r})\n"
        "from hypothesis import Phase, find, settings, strategies as st; from asyncgen_tools.testing import Program\n"
        "quick = settings(phases=[Phase.generate], max_examples=1, database=None)\n"
        "print(type(find(st.from_type(Program), lambda _: True, settings=quick)).__name__)"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "Program\n"
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["entry-points"]["hypothesis"] == {"asyncgen_tools": "asyncgen_tools.strategies"}


@pytest.mark.parametrize("kind", [Program, Script, Step])
def test_types_are_known(kind: type[object]) -> None:
    """`from_type` gives the library's own values, by the strategies of this module."""
    assert isinstance(find(st.from_type(kind), lambda _: True, settings=QUIET), kind)


def test_nothing_else_loads_hypothesis() -> None:
    """The testing kit, its programs and its traces work without hypothesis."""
    script = (
        "import sys, asyncgen_tools.testing as kit; [getattr(kit, name) for name in kit.__all__];"
        "list(kit.Program().make('sync')); print('hypothesis' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"
