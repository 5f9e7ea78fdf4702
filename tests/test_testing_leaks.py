"""track_async_generators: every async generator that is left unfinished is named, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import delegating, drive, yield_from
from asyncgen_tools.errors import LeakError
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.testing import Leak, LeakKind, get_backend, leaks, track_async_generators
from tests.thread_state import settled
from tests.ways import (
    ProbeError,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
    without_collector,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
    from types import FrameType

    from asyncgen_tools.testing import LeakTracker
    from tests.conftest import Backend
    from tests.ways import Way

    Scenario = Callable[[], Coroutine[Any, Any, object]]


# Trio's own word on a generator that was dropped; raised in the collector, it would be unraisable.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning"),
    pytest.mark.asyncgen_leaks("off"),  # these tests leak on purpose
]


async def numbers() -> AsyncGenerator[int, Any]:
    """1 and 2, each on a line of its own."""
    yield 1
    yield 2


YIELD_1 = numbers.__code__.co_firstlineno + 2
kept: list[Any] = []


@pytest.fixture(autouse=True)
def keep_nothing() -> Any:
    """What a test keeps open does not outlive it."""
    with without_collector():
        yield
        kept.clear()


async def drop() -> None:
    """Leave a loop early, and drop its generator."""
    async for _ in numbers():
        break


async def keep() -> None:
    """Leave a generator suspended."""
    kept.append(numbers())
    await anext(kept[-1])


async def finish() -> None:
    """Exhaust one, close one, and never begin one."""
    assert [item async for item in numbers()] == [1, 2]
    async with aclosing(numbers()) as source:
        await anext(source)
    numbers()


def kinds(tracker: LeakTracker) -> list[str]:
    """The kinds of the leaks."""
    return [leak.kind.value for leak in tracker.leaks]


def run_natively(library: str, scenario: Scenario) -> None:
    """Run a scenario under the library's own `run`."""
    if library == "trio":
        pytest.importorskip("trio", reason="trio is not installed").run(scenario)
    else:
        asyncio.run(scenario())


def test_beside_a_loop_of_ours() -> None:
    """A trio run of the caller's is not taken for one of ours that is open in the same thread (A7, A13)."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    trackers: list[LeakTracker] = []

    async def scenario() -> None:
        before = sys.get_asyncgen_hooks()
        with track_async_generators() as tracker:
            await drop()
        trackers.append(tracker)
        assert sys.get_asyncgen_hooks() == before
        await trio.lowlevel.checkpoint()

    with drive(numbers(), backend="trio") as generator:
        next(generator)
        trio.run(scenario)
        assert next(generator) == 2
    assert [kinds(tracker) for tracker in trackers] == [["collected"]]


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_inside_a_loop(library: str) -> None:
    """Entered inside a loop of asyncio or trio, it finds what is dropped and what is kept, and chains the hooks."""
    trackers: list[LeakTracker] = []

    async def scenario() -> None:
        before = sys.get_asyncgen_hooks()
        with track_async_generators() as tracker:
            await finish()
            await drop()
            await keep()
        trackers.append(tracker)
        assert sys.get_asyncgen_hooks() == before
        await asyncio.sleep(0) if library == "asyncio" else None

    run_natively(library, scenario)
    dropped, left = trackers[0].leaks
    for leak, kind, function in [(dropped, LeakKind.COLLECTED, drop), (left, LeakKind.SUSPENDED, keep)]:
        assert leak.kind is kind
        assert leak.name == f"{__name__}.numbers"
        assert leak.first_iterated.function == function.__qualname__
        assert leak.first_iterated.filename == __file__
        assert leak.suspended_at is not None
        assert (leak.suspended_at.line, leak.suspended_at.function) == (YIELD_1, "numbers")


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_postponed(library: str) -> None:
    """A postponed tracker judges what stands at a yield when it is stopped: what was closed until then is no leak, and
    what was dropped, or closed by the end of the event loop, is one.
    """
    trackers: list[LeakTracker] = []

    async def scenario() -> None:
        before = sys.get_asyncgen_hooks()
        with track_async_generators() as tracker:
            for _ in range(3):
                await keep()
            tracker.postpone()
        trackers.append(tracker)
        assert tracker.leaks == []
        assert sys.get_asyncgen_hooks() == before
        await kept[0].aclose()
        kept[1] = None
        await keep()  # unseen

    run_natively(library, scenario)
    trackers[0].stop()
    assert kinds(trackers[0]) == ["collected", "closed at shutdown"]
    assert observers.watchers == ()


def test_postponed_and_kept() -> None:
    """What the event loop leaves open, as one does that other tests go on with, is suspended when it is stopped."""

    async def scenario() -> LeakTracker:
        with track_async_generators() as tracker:
            await keep()
            tracker.postpone()
        return tracker

    loop = asyncio.new_event_loop()
    try:
        tracker = loop.run_until_complete(scenario())
        tracker.stop()
        assert kinds(tracker) == ["suspended"]
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert kinds(tracker) == ["suspended"]
    finally:
        loop.close()


def test_around_drives(anywhere: Way) -> None:
    """Entered around runners of this library, it finds what is dropped, kept, and closed by the runner's end."""
    with track_async_generators() as tracker:
        with anywhere.runner() as runner:
            runner.run(finish)
            runner.run(drop)
            assert kinds(tracker) == ["collected"]
            runner.run(keep)
        assert kinds(tracker) == ["collected", "closed at shutdown"]
        assert kept[0].ag_frame is None
    assert kinds(tracker) == ["collected", "closed at shutdown"]


def test_around_steps(way: Way) -> None:
    """It sees the generators that begin in any step of a driven one, before and after it suspends."""

    async def source() -> AsyncGenerator[int, None]:
        for number in range(3):
            await way.pause()
            kept.append(numbers())
            await anext(kept[-1])
            yield number

    with way.drive(source()) as generator:
        next(generator)
        with track_async_generators() as tracker:
            next(generator)
            next(generator)
            assert tracker.unfinished() == kept[1:]
    assert kinds(tracker) == ["suspended", "suspended"]


def test_inside_a_step_of_ours(backend: Backend) -> None:
    """Entered inside a runner of this library, it goes on seeing after the task has waited, and leaves no hooks."""

    async def scenario() -> LeakTracker:
        with track_async_generators() as tracker:
            await backend.checkpoint()
            await drop()
            await keep()
            await backend.checkpoint()
        return tracker

    before = sys.get_asyncgen_hooks()
    with backend.runner() as runner:
        tracker = runner.run(scenario)
        assert kinds(tracker) == ["collected", "suspended"]
        runner.run(drop)  # unseen
    assert sys.get_asyncgen_hooks() == before
    assert kinds(tracker) == ["collected", "suspended"]


def test_sources_that_are_left(anywhere: Way) -> None:
    """A driven generator itself is a leak if it stands at a yield at the end, and none if it was closed."""
    with track_async_generators() as tracker:
        left, closed = anywhere.drive(numbers()), anywhere.drive(numbers())
        assert next(left) == next(closed) == 1
        closed.close()
    assert kinds(tracker) == ["suspended"]
    assert tracker.leaks[0].first_iterated.function == "test_sources_that_are_left"
    left.close()


def test_by_hand() -> None:
    """Without any loop it sees generators that are driven by hand; a dropped one is closed as CPython does."""
    log: list[str] = []

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            log.append("cleanup")

    with track_async_generators() as tracker:
        agen = source()
        with pytest.raises(StopIteration):
            anext(agen).__await__().__next__()
        del agen
    assert log == ["cleanup"]
    assert kinds(tracker) == ["collected"]


def test_delegating_generators() -> None:
    """A chain of delegation is one leak: that of the outermost generator, with the line where the innermost stands."""

    @delegating
    async def outer() -> AsyncGenerator[int, Any]:
        yield 0
        await yield_from(numbers())

    async def leave() -> None:
        kept.append(outer())
        await anext(kept[0])
        await anext(kept[0])

    with track_async_generators() as tracker, get_backend("bare").runner() as runner:
        runner.run(leave)
    [leak] = tracker.leaks
    assert leak.name.endswith("outer")
    assert leak.suspended_at is not None
    assert leak.suspended_at.line == YIELD_1


def test_context_managers() -> None:
    """A generator behind `@asynccontextmanager` is placed at the user's line, not in contextlib."""

    @asynccontextmanager
    async def manager() -> AsyncGenerator[None]:
        yield

    async def enter() -> None:
        kept.append(manager())
        await kept[0].__aenter__()

    with track_async_generators() as tracker, get_backend("bare").runner() as runner:
        runner.run(enter)
    assert tracker.leaks[0].first_iterated.function.endswith("enter")


def test_running_ones_are_no_leaks() -> None:
    """A generator that another task is just stepping is not reported: that task will see to it."""

    async def waits() -> AsyncGenerator[int, None]:
        await asyncio.Event().wait()
        yield 1

    async def scenario() -> LeakTracker:
        with track_async_generators() as tracker:
            task = asyncio.ensure_future(anext(waits()))
            await asyncio.sleep(0)
        task.cancel()
        return tracker

    assert asyncio.run(scenario()).leaks == []


def test_asyncio_only_logs_errors_of_finalizers() -> None:
    """What a collected generator's cleanup raises goes to asyncio's exception handler, where it is read."""
    handled: list[dict[str, Any]] = []

    async def fails() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            raise KeyError("cleanup")

    async def scenario() -> LeakTracker:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: handled.append(context))
        with track_async_generators() as tracker:
            loop.call_exception_handler({"message": "unrelated", "exception": OSError()})
            async for _ in fails():
                break
            for _ in range(5):
                await asyncio.sleep(0)
        assert loop.get_exception_handler() is not None
        return tracker

    tracker = asyncio.run(scenario())
    assert kinds(tracker) == ["collected"]
    assert [repr(error) for error in tracker.errors] == ["KeyError('cleanup')"]
    assert len(handled) == 2
    with pytest.raises(LeakError, match=r"KeyError: 'cleanup'") as caught:
        tracker.check()
    assert caught.value.__cause__ is tracker.errors[0]


def test_trio_only_logs_errors_of_finalizers() -> None:
    """What a collected generator's cleanup raises goes to a logger of trio, where it is read."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    pytest.importorskip("trio.testing")

    async def fails() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise KeyError("cleanup")

    async def scenario() -> LeakTracker:
        with track_async_generators() as tracker:
            async for _ in fails():
                break
            await trio.testing.wait_all_tasks_blocked()
        return tracker

    logger, records = logging.getLogger("trio.async_generator_errors"), list[logging.LogRecord]()
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment, unused-ignore]
    logger.addHandler(handler)
    try:
        tracker = trio.run(scenario)
    finally:
        logger.removeHandler(handler)
    assert kinds(tracker) == ["collected"]
    assert [repr(error) for error in tracker.errors] == ["KeyError('cleanup')"]
    assert [record.name for record in records] == [logger.name]
    assert logger.filters == []


def test_quiet_runs_may_overlap(caplog: pytest.LogCaptureFixture) -> None:
    """Runs of the kit's harness in several threads, which end in any order, leave trio's logger as it was, whatever
    trackers of other threads come and go meanwhile.
    """
    pytest.importorskip("trio", reason="trio is not installed")
    from asyncgen_tools.testing.harness.trio_harness import quiet_finalizers

    def say(number: int) -> None:
        logger.error("finalizer %s", number, exc_info=ProbeError(number))

    logger = logging.getLogger("trio.async_generator_errors")
    before = logger.propagate, [*logger.filters], [*logger.handlers]
    first, second = quiet_finalizers(), quiet_finalizers()
    around, within = track_async_generators(hooks=False), track_async_generators(hooks=False)
    with warnings.catch_warnings():
        around.__enter__()
        say(0)
        first.__enter__()
        within.__enter__()
        say(1)
        around.stop()
        second.__enter__()
        first.__exit__(None, None, None)
        say(2)
        within.stop()
        second.__exit__(None, None, None)
    say(3)
    assert [record.getMessage() for record in caplog.records] == ["finalizer 0", "finalizer 3"]
    assert [str(error) for error in around.errors] == ["0"]
    assert [str(error) for error in within.errors] == ["1", "2"]
    assert (logger.propagate, logger.filters, logger.handlers) == before
    assert settled()


def test_check_and_report() -> None:
    """`check` raises an AssertionError that names each leak and both of its lines; without a leak it is silent."""
    bare = get_backend("bare")
    with track_async_generators() as clean:
        bare.run(finish)
    clean.check()
    assert clean.report() == ""
    with track_async_generators() as tracker:
        bare.run(drop)
    with pytest.raises(AssertionError, match=r"1 async generator\(s\) left unfinished") as caught:
        tracker.check()
    assert f"numbers (collected): first iterated at {__file__}:" in str(caught.value)
    assert f"suspended at {__file__}:{YIELD_1} in numbers" in str(caught.value)
    assert isinstance(tracker.leaks[0], Leak)


def test_trackers_nest() -> None:
    """An inner and an outer tracker both see what begins in the inner block."""
    with track_async_generators() as outer:
        get_backend("bare").run(keep)
        with track_async_generators() as inner:
            get_backend("bare").run(drop)
    assert kinds(inner) == ["collected"]
    assert kinds(outer) == ["closed at shutdown", "collected"]


def test_records_do_not_keep_generators_alive() -> None:
    """A million short generators leave no more records than were alive at once."""
    with track_async_generators() as tracker:
        for _ in range(1000):
            with pytest.raises(StopIteration):
                numbers().__anext__().__await__().__next__()
        assert len(tracker._records) < 10  # pyright: ignore[reportPrivateUsage]  # there is no other sign
    assert len(tracker.leaks) == 1000


def test_hooks_that_outlive_the_tracker() -> None:
    """A tracker's hooks that somebody has kept do nothing any more but to call those that were there before."""
    seen: list[object] = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(seen.append)
    try:
        with track_async_generators() as tracker:
            ours = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(*ours)
        generator = numbers()
        with pytest.raises(StopIteration):
            generator.asend(None).send(None)
        assert seen == [generator]
        with pytest.raises(StopIteration):
            generator.aclose().send(None)
        dropped = numbers()
        with pytest.raises(StopIteration):
            dropped.asend(None).send(None)
        seen.clear()
        del dropped
    finally:
        sys.set_asyncgen_hooks(*before)
    assert tracker.leaks == []


@pytest.mark.parametrize("struck", ["__enter__", "stop"])
def test_struck_anywhere(struck: str) -> None:
    """A tracker that an exception strikes where it begins or ends, as one of the watchdog may, can still be stopped."""

    def state() -> list[object]:
        logger = logging.getLogger("trio.async_generator_errors")
        return [observers.watchers, sys.get_asyncgen_hooks(), [*logger.filters]]

    before, trace, number = state(), sys.gettrace(), 0
    for number in range(100):
        tracker = track_async_generators()
        if struck == "stop":
            tracker.__enter__()
            kept.clear()
            get_backend("bare").run(keep)
        lines = iter(range(number))

        def strike(frame: FrameType, event: str, _: object, lines: Iterator[int] = lines) -> Any:
            if frame.f_code.co_filename == leaks.__file__ and event == "line" and next(lines, None) is None:
                raise ProbeError
            return strike

        sys.settrace(strike)
        try:
            getattr(tracker, struck)()
        except ProbeError:
            continue
        else:
            break
        finally:
            sys.settrace(trace)
            tracker.stop()
            assert state() == before, number
    assert 5 < number < 99


def test_other_words_are_no_errors(caplog: pytest.LogCaptureFixture) -> None:
    """What trio's logger or asyncio's handler is told without an exception is passed on, and is no error."""

    async def main() -> None:
        with track_async_generators() as tracker:
            logging.getLogger("trio.async_generator_errors").warning("a word of trio's")
            asyncio.get_running_loop().call_exception_handler({"message": "a word of asyncio's"})
        assert tracker.errors == []

    asyncio.run(main())
    assert "a word of trio's" in caplog.text
    assert "a word of asyncio's" in caplog.text
