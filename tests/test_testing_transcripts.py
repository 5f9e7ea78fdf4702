"""Transcripts: each step of each driven generator is written down, and nothing about the generator changes."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import SyncGenerator, drive
from asyncgen_tools.errors import UnsupportedStepError
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Raised, Returned, Step, Yielded
from asyncgen_tools.testing import Transcript, record_transcripts
from asyncgen_tools.testing.transcripts import describe_outcome, describe_step
from tests.ways import (
    STEPS,
    Countdown,
    ProbeError,
    Way,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    caught,
    numbers,
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
    without_collector,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


def steps_of(transcript: Transcript) -> list[tuple[str, str]]:
    """The steps and outcomes."""
    return [(entry.step, entry.outcome) for entry in transcript.entries]


def test_every_step(way: Way) -> None:
    """next, send, throw and close are written down with what came of them, and where the generator then stood."""

    async def source() -> AsyncGenerator[object, Any]:
        try:
            await way.pause()
            received = yield "first"
            await way.pause()
            yield received
        except ProbeError:
            yield "caught"

    with record_transcripts() as transcripts, way.drive(source()) as generator:
        assert [next(generator), generator.send(7), generator.throw(ProbeError())] == ["first", 7, "caught"]
    [transcript] = transcripts
    assert steps_of(transcript) == [
        ("next", "yielded 'first'"),
        ("send(7)", "yielded 7"),
        ("throw(ProbeError())", "yielded 'caught'"),
        ("close", "closed"),
    ]
    first = source.__code__.co_firstlineno
    assert [entry.suspended_at and entry.suspended_at.line - first for entry in transcript.entries] == [3, 5, 7, None]
    assert transcript.name.endswith("source")


def test_ends(anywhere: Way) -> None:
    """The end by return, with a value or without, and by an exception, is written down as what it was."""

    async def fails() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("no")

    with record_transcripts() as transcripts:
        assert list(anywhere.drive(numbers())) == [1, 2]
        assert str(caught(list, anywhere.drive(fails()))) == "no"
    assert [steps_of(transcript)[-1] for transcript in transcripts] == [
        ("next", "returned"),
        ("next", "raised ValueError('no')"),
    ]


def result_of(step: str, generator: SyncGenerator[Any, Any, Any]) -> str:
    """What comes of a step, as text."""
    try:
        return f"gave {STEPS[step](generator)!r}"
    except BaseException as exc:
        return f"raised {exc!r}"
    finally:
        generator.close()


@pytest.mark.parametrize("step", STEPS)
def test_first_steps(anywhere: Way, step: str) -> None:
    """Each kind of first step does what it does without a transcript, and is written down if it was taken."""
    with record_transcripts() as transcripts:
        recorded = result_of(step, anywhere.drive(numbers()))
    assert recorded == result_of(step, anywhere.drive(numbers()))
    taken = {"next": "next", "send": "close", "send None": "next", "throw": "throw(ProbeError())", "close": "close"}
    assert steps_of(transcripts[0])[0][0] == taken[step]


def test_a_refused_step(anywhere: Way) -> None:
    """A step that is refused loses nothing, and the transcript goes on."""
    with record_transcripts() as transcripts, anywhere.drive(Countdown(anywhere)) as generator:
        assert next(generator) == 2
        with pytest.raises(UnsupportedStepError):
            generator.send(1)
        assert list(generator) == [1, 0]
    assert steps_of(transcripts[0]) == [(NEXT.operation.value, f"yielded {n}") for n in (2, 1, 0)] + [
        ("next", "returned")
    ]


def test_steps_refused_by_the_loop() -> None:
    """A step that is refused because a loop runs here is written down; the transcript goes on with the next."""
    import asyncio

    async def misuse(generator: SyncGenerator[int, Any, Any]) -> None:
        with pytest.raises(RuntimeError, match="An event loop of asyncio is running"):
            next(generator)

    with record_transcripts() as transcripts:
        for begun in (False, True):
            with drive(numbers()) as generator:
                assert not begun or next(generator) == 1
                asyncio.run(misuse(generator))
                assert next(generator) == (2 if begun else 1)
    assert [[outcome.partition("(")[0] for _, outcome in steps_of(transcript)] for transcript in transcripts] == [
        ["raised RunningLoopError", "yielded 1", "closed"],
        ["yielded 1", "raised RunningLoopError", "yielded 2", "closed"],
    ]


def test_ignored_exit(anywhere: Way) -> None:
    """A generator that ignores GeneratorExit is the error that it is without a transcript, and can go on."""

    async def ignores() -> AsyncGenerator[str, None]:
        try:
            yield "first"
        except GeneratorExit:
            yield "second"
        yield "third"

    with record_transcripts() as transcripts:
        generator = anywhere.drive(ignores())
        next(generator)
        with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
            generator.close()
        assert next(generator) == "third"
        generator.close()
    assert [step for step, _ in steps_of(transcripts[0])] == ["next", "close", "next", "close"]
    assert steps_of(transcripts[0])[1][1].startswith("raised RuntimeError")


def test_face_is_unchanged(anywhere: Way) -> None:
    """What is recorded is a SyncGenerator: `yield from`, re-entry, the attributes and dropping are as ever."""
    log: list[str] = []

    async def source() -> AsyncGenerator[int, None]:
        try:
            face = faces[-1]()
            assert face is not None
            assert face.gi_running
            with pytest.raises(ValueError, match="generator already executing"):
                next(face)
            del face
            yield 1
        finally:
            log.append("closed")

    def outer(generator: SyncGenerator[int, Any, Any]) -> Generator[int]:
        yield from generator

    faces: list[weakref.ref[SyncGenerator[int, Any, Any]]] = []
    with without_collector(), record_transcripts() as transcripts:
        generator = anywhere.drive(source())
        faces.append(weakref.ref(generator))
        assert isinstance(generator, SyncGenerator)
        assert not generator.gi_suspended
        assert next(outer(generator)) == 1
        assert log == ["closed"]  # `outer` was dropped, and has closed it
        generator = anywhere.drive(source())
        faces.append(weakref.ref(generator))
        next(generator)
        assert generator.gi_suspended
        assert generator.gi_frame is not None
        del generator
        assert log == ["closed", "closed"]
    assert [steps_of(transcript)[-1] for transcript in transcripts] == [("close", "closed")] * 2


def test_nothing_is_kept_alive(anywhere: Way) -> None:
    """A transcript keeps neither items nor exceptions nor generators, and makes no cycle of them."""

    class Item:
        pass

    async def source() -> AsyncGenerator[Item, None]:
        with pytest.raises(ProbeError):
            yield Item()
        yield Item()
        raise KeyError

    with without_collector(), record_transcripts() as transcripts:
        generator = anywhere.drive(source())
        probe = ProbeError()
        references: list[weakref.ref[Any]] = [weakref.ref(next(generator)), weakref.ref(probe)]
        references.append(weakref.ref(generator.throw(probe)))
        references.append(weakref.ref(generator))
        with pytest.raises(KeyError):
            next(generator)
        del probe, generator
        gc.collect(0)
        assert [reference() for reference in references] == [None] * 4
    assert len(transcripts[0].entries) == 3


def test_long_ones_are_cut(anywhere: Way) -> None:
    """Of an endless generator the last 50 steps are kept; it says how many went before; long values are cut."""

    async def endless() -> AsyncGenerator[str, None]:
        while True:
            yield "x" * 100

    with record_transcripts() as transcripts, anywhere.drive(endless()) as generator:
        for _ in range(70):
            next(generator)
    [transcript] = transcripts
    assert (len(transcript.entries), transcript.left_out) == (50, 21)
    assert "  ... 21 steps before" in str(transcript).splitlines()
    assert max(len(entry.outcome) for entry in transcript.entries) < 80


def test_text() -> None:
    """A transcript reads as a list of steps under the name of the generator and the line that drives it."""
    with record_transcripts() as transcripts:
        with drive(numbers(), backend="bare") as generator:
            next(generator)
        drive(numbers(), backend="bare")
    begun, never = map(str, transcripts)
    head, first, last = begun.splitlines()
    assert head.startswith(f"tests.ways.numbers, driven from {__file__}:")
    assert first.startswith("  next -> yielded 1  (suspended at ")
    assert first.endswith(" in numbers)")
    assert last == "  close -> closed"
    assert never.splitlines()[1:] == ["  never stepped"]


def test_recording_ends_with_the_block() -> None:
    """What is driven before or after the block, or in another thread, is not recorded."""
    from threading import Thread

    before = drive(numbers(), backend="bare")
    with record_transcripts() as transcripts:
        assert list(before) == [1, 2]
        thread = Thread(target=lambda: list(drive(numbers(), backend="bare")))
        thread.start()
        thread.join(10)
    assert list(drive(numbers(), backend="bare")) == [1, 2]
    assert transcripts == []
    assert observers.recorders == ()


def test_descriptions() -> None:
    """Steps and outcomes are described as they are written; a value without a repr does no harm."""

    class Shy:
        def __repr__(self) -> str:
            raise OSError

    assert describe_step(NEXT) == "next"
    assert describe_step(Step(Operation.THROW, KeyError("k"))) == "throw(KeyError('k'))"
    assert describe_outcome(NEXT, Returned("value")) == "returned 'value'"
    assert describe_outcome(CLOSE, Returned()) == "closed"
    assert describe_outcome(CLOSE, Raised(KeyError())) == "raised KeyError()"
    shown = describe_outcome(NEXT, Yielded(Shy()))
    assert shown.startswith("yielded <")
    assert shown.endswith("Shy whose repr raises OSError>")


def test_close_that_raises(way: Way) -> None:
    """What the cleanup raises while the generator is closed is written down, and comes out."""

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            raise ProbeError

    with record_transcripts() as transcripts:
        generator = way.drive(source())
        assert next(generator) == 1
        assert type(caught(generator.close)) is ProbeError
    assert steps_of(transcripts[0]) == [("next", "yielded 1"), ("close", "raised ProbeError()")]
