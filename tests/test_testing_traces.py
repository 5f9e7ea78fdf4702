"""Recording: what comes of each operation, and what passes."""

from __future__ import annotations

import asyncio
import dataclasses
import types
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import drive
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Returned, Step, Yielded
from asyncgen_tools.testing import Notes, Trace, arecord, get_backend, record
from asyncgen_tools.testing.traces import Failed, SeenError, finish, finish_by_hand

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

BARE = get_backend("bare")
VARIABLE: ContextVar[int] = ContextVar("VARIABLE", default=0)


def numbers() -> Generator[int, Any, str]:
    """1, then what is sent, and an error for an answer."""
    sent = yield 1
    try:
        yield sent
    except KeyError as error:
        raise ValueError("instead", 1) from error
    return "end"


async def anumbers() -> AsyncGenerator[int, Any]:
    """The same, without a return value."""
    sent = yield 1
    try:
        yield sent
    except KeyError as error:
        raise ValueError("instead", 1) from error


def outcomes(trace: Trace) -> list[object]:
    """The outcome of each step."""
    return [step.outcome for step in trace.steps]


def arecorded(generator: AsyncGenerator[Any, Any], *operations: Step) -> Trace:
    """The trace of an async generator."""
    return BARE.run(partial(arecord, generator, operations))


SEND = Step(Operation.SEND, 5)
THROW = Step(Operation.THROW, KeyError)
INSTEAD = SeenError(ValueError, ("instead", 1), SeenError(KeyError, ("thrown",), thrown=True))


def test_record_takes_down_each_outcome() -> None:
    """What is yielded, returned and raised is in the trace, an exception with its arguments and its cause."""
    assert outcomes(record(numbers(), [NEXT, SEND, NEXT, NEXT])) == [
        Yielded(1),
        Yielded(5),
        Returned("end"),
        Returned(),
    ]
    assert outcomes(record(numbers(), [NEXT, SEND, THROW, CLOSE])) == [
        Yielded(1),
        Yielded(5),
        Failed(INSTEAD),
        Returned(),
    ]


def test_arecord_takes_down_each_outcome() -> None:
    """An async generator's trace has the same outcomes."""
    assert outcomes(arecorded(anumbers(), NEXT, SEND, NEXT, NEXT)) == [Yielded(1), Yielded(5), Returned(), Returned()]
    assert outcomes(arecorded(anumbers(), NEXT, SEND, THROW, CLOSE)) == [
        Yielded(1),
        Yielded(5),
        Failed(INSTEAD),
        Returned(),
    ]


def test_driven_generators_are_recorded() -> None:
    """`record` takes what `drive` gives."""
    assert record(drive(anumbers(), backend="bare"), [NEXT, SEND, THROW]) == arecorded(anumbers(), NEXT, SEND, THROW)


def test_thrown_instance_is_itself() -> None:
    """An instance is thrown as it is, and known as what was thrown in; another exception like it is not."""
    error = KeyError("mine")
    (step,) = record(numbers(), [Step(Operation.THROW, error)]).steps
    assert step.outcome == Failed(SeenError(KeyError, ("mine",), thrown=True))
    assert step.outcome != Failed(SeenError(KeyError, ("mine",)))


def test_stop_is_thrown_in_the_generators_own_words() -> None:
    """StopIteration is thrown into an async generator as StopAsyncIteration, which then becomes its RuntimeError."""

    async def waits() -> AsyncGenerator[int, None]:
        yield 1

    taken = arecorded(waits(), NEXT, Step(Operation.THROW, StopIteration)).steps[1].outcome
    assert isinstance(taken, Failed)
    assert taken.error.kind is RuntimeError
    assert taken.error.cause == SeenError(StopAsyncIteration, ("thrown",), thrown=True)


def test_generators_are_finished() -> None:
    """A generator is finished after recording, also one that ignores GeneratorExit for a while."""

    def stubborn() -> Generator[int, None, None]:
        for item in range(4):
            with suppress(GeneratorExit):
                yield item

    async def astubborn() -> AsyncGenerator[int, None]:
        for item in range(4):
            with suppress(GeneratorExit):
                yield item

    generator: Any = stubborn()
    agenerator: Any = astubborn()
    record(generator, [NEXT])
    arecorded(agenerator, NEXT)
    assert generator.gi_frame is None
    assert agenerator.ag_frame is None


def test_notes_belong_to_steps() -> None:
    """What the body writes down is with the step in which it did; what it writes when it is finished, nowhere."""
    notes = Notes()

    def notices() -> Generator[int, None, None]:
        notes.add("begun")
        try:
            yield 1
            notes.add("resumed")
            yield 2
        finally:
            notes.add("closed")

    assert [step.notes for step in record(notices(), [NEXT, NEXT], notes=notes).steps] == [("begun",), ("resumed",)]
    assert notes.take() == ("closed",)


def test_context_changes_are_seen() -> None:
    """A step that changes a context variable of its consumer is in the trace with the variable's name."""

    def changes() -> Generator[int, None, None]:
        yield 1
        token = VARIABLE.set(1)
        yield 2
        VARIABLE.reset(token)
        yield 3

    assert [step.context for step in record(changes(), [NEXT] * 3).steps] == [(), ("VARIABLE",), ("VARIABLE",)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_about_the_test_passes(error: type[BaseException]) -> None:
    """Ctrl-C, exit and cancellation are not written down but passed on, and the generator is finished nevertheless."""
    closed: list[str] = []

    def fails() -> Generator[int, None, None]:
        try:
            yield 1
        except ValueError:
            raise error from None
        finally:
            closed.append("closed")

    with pytest.raises(error):
        record(fails(), [NEXT, Step(Operation.THROW, ValueError)])
    assert closed == ["closed"]


def test_traces_are_values() -> None:
    """Equal runs give equal traces, frozen, which keep no exception alive."""
    one, other = (record(numbers(), [NEXT, SEND, THROW]) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.steps = ()  # type: ignore[misc]


def test_a_trace_reads_well() -> None:
    """A trace is shown with a line for each step."""
    assert str(record(numbers(), [NEXT, SEND, THROW, CLOSE])).splitlines() == [
        "next -> yielded 1",
        "send(5) -> yielded 5",
        "throw(<class 'KeyError'>) -> raised ValueError('instead', 1) from KeyError('thrown') (thrown in)",
        "close -> closed",
    ]
    assert str(record(numbers(), [])) == "(nothing)"


def test_finishing_gives_up() -> None:
    """A generator that ignores its closing again and again is left as it is, in the end."""
    stubborn = [True]

    def sync() -> Generator[int, Any, None]:
        while stubborn:
            try:
                yield 1
            except GeneratorExit:
                continue

    async def ignores() -> AsyncGenerator[int, Any]:
        while stubborn:
            try:
                yield 1
            except GeneratorExit:
                continue

    @types.coroutine
    def pause() -> Generator[None, Any, None]:
        yield

    async def waits() -> AsyncGenerator[int, Any]:
        try:
            yield 1
        finally:
            while stubborn:
                await pause()

    generator: Any = sync()
    agens: list[Any] = [ignores(), waits()]
    next(generator)
    for agen in agens:
        with pytest.raises(StopIteration):
            agen.asend(None).send(None)
    finish(generator)
    for agen in agens:
        finish_by_hand(agen)
    assert generator.gi_frame is not None
    assert agens[0].ag_frame is not None
    stubborn.clear()
    finish(generator)
    finish_by_hand(agens[0])
    assert generator.gi_frame is None
    assert agens[0].ag_frame is None  # the other one is still closing, before 3.13
