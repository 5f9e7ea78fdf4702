"""Programs: what their generators do, in each rendering, and what they write down."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis.vendor.pretty import pretty

from asyncgen_tools.steps import CLOSE, NEXT, Operation, Step
from asyncgen_tools.testing import Notes, Program, Script, Trace, arecord, get_backend, record
from asyncgen_tools.testing.statements import (
    Await,
    Body,
    Delegate,
    Loop,
    Raise,
    Rendering,
    Return,
    TryExcept,
    TryFinally,
    With,
    Yield,
)
from tests.ways import without_collector

if TYPE_CHECKING:
    from collections.abc import Awaitable

BARE = get_backend("bare")
RENDERINGS: tuple[Rendering, ...] = ("sync", "async", "delegating")


def trace(body: Body, rendering: Rendering, *operations: Step, **parts: Any) -> Trace:
    """What comes of operations on a rendering of a program."""
    notes = Notes()
    if rendering == "sync":
        return record(Program(body).make("sync", notes, **parts), operations, notes=notes)
    generator = Program(body).make(rendering, notes, **parts)

    return BARE.run(partial(arecord, generator, operations, notes=notes))


def outline(found: Trace) -> list[str]:
    """A line for each step."""
    return str(found).splitlines()


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_each_rendering_does_the_same(rendering: Rendering) -> None:
    """Items, what is sent, loops, context managers, errors, cleanup and delegation go alike in all renderings."""
    body = (
        Loop(2, (Yield(1),)),
        TryExcept((With((Delegate((Yield(2), Return(5))), Raise("KeyError"))),), "KeyError", (Yield(3),)),
        TryFinally((Await(), Yield(4)), (Await(),)),
    )
    send = Step(Operation.SEND, 7)
    found = trace(body, rendering, NEXT, send, NEXT, send, NEXT, Step(Operation.THROW, ValueError))
    assert outline(found) == [
        "next -> yielded 1",
        "send(7) -> yielded 1  noted 7",
        "next -> yielded 2  noted None, 'enter'",
        "send(7) -> yielded 3  noted 7, 5, 'exit', KeyError('raised'), KeyError('raised')",
        "next -> yielded 4  noted None",
        "throw(<class 'ValueError'>) -> raised ValueError('thrown') (thrown in)  noted 'finally'",
    ]


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_return_that_is_overridden(rendering: Rendering) -> None:
    """A return whose `finally` raises, or falls to an error that is caught, leaves no return value in any rendering."""
    body = (Delegate((TryExcept((TryFinally((Return(5),), (Raise("KeyError"),)),), "KeyError"),)), Yield())
    assert outline(trace(body, rendering, NEXT)) == ["next -> yielded 0  noted 'finally', KeyError('raised'), None"]


@pytest.mark.parametrize("rendering", ["sync", "delegating"])
def test_return_value(rendering: Rendering) -> None:
    """Sync and delegating renderings return what the program returns."""
    assert outline(trace((Return(2),), rendering, NEXT)) == ["next -> returned 2"]


def test_checkpoint_is_awaited() -> None:
    """`Await`, and leaving a context manager, await the checkpoint that is given, until the generator is finished."""
    awaited: list[None] = []

    async def checkpoint() -> None:
        awaited.append(None)

    body = (Await(), With((Yield(),)), Await())
    trace(body, "async", NEXT, NEXT, checkpoint=checkpoint)
    assert len(awaited) == 3
    trace(body, "delegating", NEXT, checkpoint=checkpoint)
    assert len(awaited) == 5  # that of `Await`, and that of the exit: `arecord` closes it where it is awaited


def test_delegate_takes_the_place_of_yield_from() -> None:
    """A delegation of one's own is used in the place of `yield_from`."""

    async def nothing(_: object) -> str:
        return "instead"

    def delegate(subgenerator: Any) -> Awaitable[str]:
        return nothing(subgenerator)

    found = trace((Delegate((Yield(1),)), Yield(2)), "delegating", NEXT, delegate=delegate)
    assert outline(found) == ["next -> yielded 2  noted 'instead'"]


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_subgenerators_are_finished(rendering: Rendering) -> None:
    """Whatever a program and its subgenerators do when they are closed, recording leaves none of them unfinished."""
    stubborn = (Loop(3, (TryExcept((Yield(1),), "BaseException", (Yield(2),)),)),)
    notes = Notes()
    program = Program((Delegate(stubborn), *stubborn))
    if rendering == "sync":
        record(program.make("sync", notes), [NEXT, CLOSE], notes=notes)
    else:
        BARE.run(partial(arecord, program.make(rendering, notes), [NEXT, CLOSE], notes=notes))
    assert len(notes.generators) == 2
    for generator in notes.generators:
        frame = "gi_frame" if rendering == "sync" else "ag_frame"
        assert getattr(generator, frame) is None


def test_repr_is_the_source() -> None:
    """A program shows its source, and a script what is done with it; hypothesis and IPython show the same."""
    script = Script(Program((Yield(1),)), (NEXT, Step(Operation.SEND, 0), CLOSE))
    assert repr(script.program) == "def program():\n    note((yield 1))"
    assert repr(script) == "def program():\n    note((yield 1))\n# next, send(0), close"
    assert repr(Script(Program())) == "def program():\n    if False: yield\n    pass\n# no operation"
    assert pretty(script) == repr(script)
    assert pretty(script.program) == repr(script.program)


def test_programs_are_values() -> None:
    """Programs and scripts are equal by what they hold, and can be hashed."""
    assert Program((Yield(1),)) == Program((Yield(1),)) != Program((Yield(2),))
    assert len({Script(Program()), Script(Program()), Script(Program(), (NEXT,))}) == 2


def test_generators_are_let_go() -> None:
    """Nothing keeps a recorded generator alive."""
    with without_collector():
        notes = Notes()
        generator = Program((Delegate((Yield(1),)),)).make("sync", notes)
        record(generator, [NEXT], notes=notes)
        watched = weakref.ref(generator)
        del generator, notes
        gc.collect()  # its names refer to one another
        assert watched() is None
