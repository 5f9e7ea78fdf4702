"""Errors arrive as they are, with a short traceback, and leave nothing behind (SEMANTICS A9)."""

from __future__ import annotations

import asyncio
import inspect
import sys
import weakref
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import SyncGenerator, drive
from asyncgen_tools.errors import BareSuspensionError
from asyncgen_tools.testing import track_async_generators
from tests.scopes import task_group
from tests.ways import (
    STEPS,
    Countdown,
    ProbeError,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    caught,
    frames_of,
    numbers,
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
    without_collector,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from asyncgen_tools import Portal, Runner
    from tests.conftest import Backend
    from tests.ways import Way


# A9: errors arrive as they are ----------------------------------------------------------------------------------------


def all_errors() -> list[BaseException]:
    """One of each kind that something might treat in its own way."""
    return [
        ProbeError(),
        asyncio.CancelledError("mine"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        TimeoutError(),
        ExceptionGroup("group", [ProbeError()]),
        BaseExceptionGroup("exits", [GeneratorExit()]),
        BaseExceptionGroup("mixed", [GeneratorExit(), KeyboardInterrupt()]),
        RuntimeError("async generator ignored GeneratorExit"),
        StopIterationLikeError(),
    ]


class StopIterationLikeError(Exception):
    """Looks like StopIteration, and is none."""

    value = 1


@pytest.mark.parametrize("index", range(len(all_errors())), ids=[repr(error) for error in all_errors()])
def test_errors_of_the_body(way: Way, index: int) -> None:
    """What the body raises in a step is the same object in the caller, of whatever kind, its context untouched, and the
    runner goes on (A9).
    """
    raised = all_errors()[index]

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        await way.pause()
        raise raised

    with way.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        exc = caught(next, generator)
        assert exc is raised
        assert exc.__cause__ is None
        assert exc.__context__ is None
        assert list(generator) == []
        assert list(runner.drive(numbers())) == [1, 2]


@pytest.mark.parametrize("index", range(len(all_errors())), ids=[repr(error) for error in all_errors()])
def test_errors_thrown_through(way: Way, index: int) -> None:
    """What is thrown in and not caught comes out as the same object, after the body's cleanup (A9)."""
    thrown = all_errors()[index]
    cleaned: list[type] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            cleaned.append(type(sys.exc_info()[1]))

    with way.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        exc = caught(generator.throw, thrown)
        assert exc is thrown
        assert exc.__cause__ is None
        assert exc.__context__ is None
        assert cleaned == [type(thrown)]
        assert list(generator) == []
        assert list(runner.drive(numbers())) == [1, 2]


CLEANUP_ERRORS = [error for error in all_errors() if not isinstance(error, GeneratorExit) and str(error)[:5] != "exits"]


@pytest.mark.parametrize("index", range(len(CLEANUP_ERRORS)), ids=[repr(error) for error in CLEANUP_ERRORS])
def test_errors_of_cleanup(way: Way, index: int) -> None:
    """What cleanup raises comes out of `close()` as it is, and closing again is quiet (A9)."""
    raised = [error for error in all_errors() if not isinstance(error, GeneratorExit) and str(error)[:5] != "exits"][
        index
    ]

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            raise raised

    with way.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        exc = caught(generator.close)
        assert exc is raised
        assert isinstance(exc.__context__, GeneratorExit)
        generator.close()
        assert list(generator) == []
        assert list(runner.drive(numbers())) == [1, 2]


@pytest.mark.parametrize(
    "group",
    [
        BaseExceptionGroup("one", [GeneratorExit()]),
        BaseExceptionGroup("nested", [GeneratorExit(), BaseExceptionGroup("inner", [GeneratorExit()])]),
    ],
    ids=str,
)
def test_group_of_exits_is_a_normal_close(way: Way, group: BaseException) -> None:
    """A group that holds GeneratorExit alone, at any depth, raised on close, is a normal close (A9)."""

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            await way.pause()
            raise group from None

    generator = way.drive(body())
    next(generator)
    generator.close()
    assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED


def test_group_of_exits_out_of_a_throw(way: Way) -> None:
    """Out of `throw(GeneratorExit)`, which is no close, such a group comes as it is (A9)."""
    group = BaseExceptionGroup("exits", [GeneratorExit()])

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            await way.pause()
            raise group from None

    generator = way.drive(body())
    next(generator)
    assert caught(generator.throw, GeneratorExit()) is group


def test_stop_iteration_of_the_body(way: Way) -> None:
    """StopIteration and StopAsyncIteration raised by a body are RuntimeErrors with the original as cause, never an
    end (A9).
    """

    async def body(error: BaseException) -> AsyncGenerator[int, None]:
        yield 1
        await way.pause()
        raise error

    for error in (StopIteration("value"), StopAsyncIteration("value")):
        generator = way.drive(body(error))
        next(generator)
        with pytest.raises(RuntimeError, match=f"async generator raised {type(error).__name__}") as raised:
            next(generator)
        assert raised.value.__cause__ is error


def test_exits_of_a_plain_iterator_leave_the_runner_usable(way: Way) -> None:
    """A class-based source that raises KeyboardInterrupt is let go without another step but its close (A9)."""
    log: list[str] = []

    class Interrupted:
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> int:
            log.append("next")
            await way.pause()
            raise KeyboardInterrupt

        async def aclose(self) -> None:
            log.append("close")

    with way.runner() as runner:
        generator = runner.drive(Interrupted())
        assert type(caught(next, generator)) is KeyboardInterrupt
        assert list(generator) == []
        assert log[0] == "next"
        assert set(log[1:]) <= {"close"}
        assert list(runner.drive(numbers())) == [1, 2]


def test_context_is_the_callers(way: Way) -> None:
    """An error of a step that is taken while the caller handles another has that one as its context, as usual (A9)."""

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        await way.pause()
        raise ProbeError

    generator = way.drive(body())
    next(generator)
    outer = KeyError()
    try:
        raise outer
    except KeyError:
        with pytest.raises(ProbeError) as raised:
            next(generator)
    assert raised.value.__context__ is outer


@pytest.mark.parametrize("ending", ["close", "drop", "end of the runner"])
def test_context_of_other_tasks(backend: Backend, ending: str) -> None:
    """What other tasks raise while a generator is closed has no GeneratorExit of ours as its context, whose traceback
    would keep the caller's variables alive, and with them generators that the caller has dropped (A8, A9).
    """
    contexts: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        leaving, done = anyio.Event(), anyio.Event()

        async def child() -> None:
            await leaving.wait()
            try:
                raise ProbeError
            except ProbeError as error:
                contexts.append(error.__context__)
            done.set()

        async with task_group(backend, "native") as start:
            start(child)
            try:
                yield 1
            finally:
                leaving.set()
                await done.wait()

    with backend.runner() as runner:
        generator = runner.drive(body())
        assert next(generator) == 1
        if ending == "close":
            generator.close()
        elif ending == "drop":
            del generator
    assert contexts == [None]


def failing_source(way: Way, first: bool) -> AsyncGenerator[int, Any]:
    """A generator that fails at its first step, or later; always in a function that it awaits."""

    async def helper() -> None:
        await way.pause()
        raise ProbeError

    async def body() -> AsyncGenerator[int, Any]:
        try:
            if first:
                await helper()
            yield 1
        finally:
            if not first:
                await helper()

    return body()


@pytest.mark.parametrize("step", ["next", "send", "send None", "throw", "close", "first"])
def test_traceback(way: Way, step: str) -> None:
    """The traceback is the caller's frame, at most two of the library, then the source's, and nothing else (A9)."""
    generator = way.drive(failing_source(way, first=step == "first"))
    if step != "first":
        next(generator)
    take = next if step == "first" else STEPS[step]
    exc = caught(lambda: take(generator))
    names = frames_of(exc)
    ours = names.count("(ours)")
    assert names[0] == "<lambda>"
    assert ours <= 2
    assert names[-ours - 2 :][-2:] == ["body", "helper"]
    assert [name for name in names if name not in {"<lambda>", "(ours)", "body", "helper"}] == []


@pytest.mark.parametrize("step", ["next", "send", "throw", "close"])
def test_traceback_of_a_class_based_source(way: Way, step: str) -> None:
    """The same holds for a source that is no native generator (A9)."""

    class Failing:
        def __aiter__(self) -> Any:
            return self

        async def work(self) -> int:
            await way.pause()
            raise ProbeError

        steps = 0

        async def __anext__(self) -> int:
            self.steps += 1
            return 1 if self.steps == 1 else await self.work()

        async def asend(self, _value: object) -> int:
            return await self.work()

        async def athrow(self, _exc: BaseException) -> int:
            return await self.work()

        async def aclose(self) -> None:
            await self.work()

    generator = way.drive(Failing())
    next(generator)
    exc = caught(lambda: STEPS[step](generator))
    names = frames_of(exc)
    assert names[0] == "<lambda>"
    assert names.count("(ours)") <= 2
    assert names[-1] == "work"
    method = {"next": "__anext__", "send": "asend", "throw": "athrow", "close": "aclose"}[step]
    assert [name for name in names if name != "(ours)"] in (
        ["<lambda>", method, "work"],
        ["<lambda>", "<lambda>", method, "work"],
    )


def test_traceback_of_a_wait_that_failed(backend: Backend) -> None:
    """An error that the event loop delivers at the await shows the caller, at most two of ours, then the body (A9)."""

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        import anyio.to_thread

        await anyio.to_thread.run_sync(fail)

    def fail() -> None:
        raise ProbeError

    generator = backend.drive(body())
    next(generator)
    exc = caught(lambda: next(generator))
    names = frames_of(exc)
    assert names[0] == "<lambda>"
    assert names.count("(ours)") <= 2
    assert names[names.count("(ours)") + 1] == "body"
    assert names[-1] == "fail"


def test_errors_of_refused_steps_show_the_caller(anywhere: Way) -> None:
    """A refused value shows the caller's frame and at most two of ours, too (A9)."""
    with anywhere.drive(Countdown(anywhere)) as generator:
        next(generator)
        exc = caught(lambda: generator.send(1))
    assert frames_of(exc)[0] == "<lambda>"
    assert frames_of(exc).count("(ours)") <= 2


# What is kept alive ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["next", "send", "throw", "close"])
def test_no_cycle_after_an_error(way: Way, step: str) -> None:
    """An error leaves no reference cycle behind: error, generator and source die with their last reference (A9)."""
    errors: list[weakref.ref[ProbeError]] = []

    async def body() -> AsyncGenerator[int, Any]:
        try:
            yield 1
        finally:
            await way.pause()
            error = ProbeError()
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

    def fail() -> list[weakref.ref[Any]]:
        source = body()
        generator = way.drive(source)
        watched: list[weakref.ref[Any]] = [weakref.ref(generator), weakref.ref(source)]
        next(generator)
        with suppress(ProbeError):
            STEPS[step](generator)
        return watched

    with without_collector():
        watched = fail()
        assert [reference() for reference in watched] == [None, None]
        assert [reference() for reference in errors] == [None]


@pytest.mark.parametrize("own_hooks", [False, True])
def test_no_cycle_after_a_thrown_error(way: Way, own_hooks: bool) -> None:
    """An error that is thrown in and comes out again is not kept by the frames that it passed, nor where hooks of the
    caller have steps go the careful way (A9).
    """

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()

    def throw(started: bool) -> list[weakref.ref[Any]]:
        thrown = ProbeError()
        source = body()
        generator = way.drive(source)
        if started:
            next(generator)
        watched: list[weakref.ref[Any]] = [weakref.ref(thrown), weakref.ref(generator), weakref.ref(source)]
        try:
            generator.throw(thrown)
        except ProbeError:
            del thrown  # this frame is in its traceback
        return watched

    with without_collector(), track_async_generators() if own_hooks else nullcontext():
        for started in (True, False):
            assert [reference() for reference in throw(started)] == [None, None, None]


@pytest.mark.parametrize("portal", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_no_cycle_after_a_wait(backend: Backend, times: int, portal: bool) -> None:
    """Nor is an error after a step that the host's task carried on, through more than a bare checkpoint (A9)."""

    class Thing:
        """Something that weak references can watch."""

    async def body() -> AsyncGenerator[weakref.ref[Any], None]:
        thing = Thing()
        yield weakref.ref(thing)
        for _ in range(times):
            await backend.sleep(0.001)
        raise ProbeError

    def fail(runner: Runner | Portal) -> weakref.ref[Any]:
        generator = runner.drive(body())
        watched = next(generator)
        with suppress(ProbeError):
            next(generator)
        return watched

    with backend.portal() if portal else backend.runner() as runner, without_collector():
        assert fail(runner)() is None


def test_no_cycle_with_the_generator_held(way: Way) -> None:
    """An ended generator that is still held keeps neither its error nor its source alive (A9)."""

    async def body(error: list[ProbeError]) -> AsyncGenerator[int, None]:
        yield 1
        await way.pause()
        raise error.pop()

    def fail(generator_of: list[SyncGenerator[int, None, None]]) -> list[weakref.ref[Any]]:
        error = ProbeError()
        watched: list[weakref.ref[Any]] = [weakref.ref(error)]
        source = body([error])
        del error
        watched.append(weakref.ref(source))
        generator: SyncGenerator[int, None, None] = way.drive(source)
        generator_of.append(generator)
        next(generator)
        with suppress(ProbeError):
            next(generator)
        return watched

    with without_collector():
        held: list[SyncGenerator[int, None, None]] = []
        assert [reference() for reference in fail(held)] == [None, None]
        assert inspect.getgeneratorstate(held[0]) == inspect.GEN_CLOSED


def test_sent_values_are_not_kept(way: Way) -> None:
    """A value sent in and an item given out are not kept alive after the generator's end (A9)."""

    class Thing:
        """Something that weak references can watch."""

    async def body() -> AsyncGenerator[Thing, Thing]:
        yield Thing()
        await way.pause()
        yield Thing()

    with without_collector():
        generator: SyncGenerator[Thing, Thing, None] = way.drive(body())
        watched = [weakref.ref(next(generator))]
        sent = Thing()
        watched.append(weakref.ref(sent))
        watched.append(weakref.ref(generator.send(sent)))
        del sent
        generator.close()
        assert [reference() for reference in watched] == [None, None, None]


# bare -----------------------------------------------------------------------------------------------------------------


def test_bare_refuses_to_wait() -> None:
    """On the bare backend a step that suspends is one clear error at the await, where the body may handle it (A14)."""

    class Wait:
        def __await__(self) -> Generator[str, None, None]:
            yield "something"

    async def body() -> AsyncGenerator[str, None]:
        try:
            await Wait()
        except RuntimeError as exc:
            yield str(exc)
        await Wait()

    generator = drive(body(), backend="bare")
    message = next(generator)
    assert "body" in message
    assert "'something'" in message
    assert "backend='asyncio'" in message
    exc = caught(lambda: next(generator))
    assert isinstance(exc, BareSuspensionError)
    assert frames_of(exc)[0] == "<lambda>"
    assert frames_of(exc).count("(ours)") <= 2
    assert frames_of(exc)[-2:] == ["body", "__await__"]
    assert list(generator) == []


def test_bare_refuses_to_wait_while_closing() -> None:
    """Cleanup that suspends on the bare backend is the same error, out of `close()` (A14)."""
    cleaned: list[int] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                cleaned.append(1)

    generator = drive(body(), backend="bare")
    next(generator)
    with pytest.raises(BareSuspensionError, match="no event loop"):
        generator.close()
    assert cleaned == [1]
    generator.close()
