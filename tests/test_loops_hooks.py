"""Asyncgen hooks: the loop's inside a step, the caller's own outside of it (SEMANTICS A7)."""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import drive
from asyncgen_tools.loops.ends import this_thread
from asyncgen_tools.loops.observers import observers
from tests.children import run_child
from tests.test_loops_sliced import in_thread, run_natively
from tests.thread_state import closes_at_once, settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from tests.conftest import Backend


# Trio finalises dropped generators, too, but tells about each.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning"),
    pytest.mark.asyncgen_leaks("off"),  # these tests leak on purpose
]


class Inner:
    """An async generator that a body starts and drops; tells where its awaiting `finally` block ran."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.events: list[str] = []
        self.thread = 0

    async def rows(self) -> AsyncGenerator[int, None]:
        """Yield numbers; cleanup waits for the loop, twice."""
        try:
            yield 1
            yield 2
        finally:
            self.events.append("closing")
            if self.backend.name == "trio":
                import trio

                with trio.CancelScope(shield=True):
                    await self.backend.checkpoint()
                    await self.backend.sleep(0.001)
            else:
                await self.backend.checkpoint()
                await self.backend.sleep(0.001)
            self.thread = threading.get_ident()
            self.events.append("closed")

    async def start_and_drop(self) -> None:
        """Take one item and let go."""
        assert await anext(self.rows()) == 1

    async def closed(self, times: int) -> None:
        """Wait until so many have been closed."""
        while self.events.count("closed") < times:
            await self.backend.sleep(0.001)


DONE = ["closing", "closed"]


@pytest.fixture
def inner(backend: Backend) -> Inner:
    """What the body starts and drops."""
    return Inner(backend)


@pytest.fixture(autouse=True)
def hooks_as_before() -> Iterator[None]:
    """Whatever a test does, it leaves no hooks behind."""
    assert sys.get_asyncgen_hooks() == (None, None)
    yield
    sys.set_asyncgen_hooks(None, None)


class Tracker:
    """Hooks of the caller that note what they are called with, by name, and chain to others like any good tracker."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.finalized: list[str] = []
        self.before: Any = (None, None)

    def firstiter(self, agen: Any) -> None:
        """Note the generator, and pass it on."""
        self.started.append(agen.__name__)
        if self.before[0] is not None:
            self.before[0](agen)

    def finalizer(self, agen: Any) -> None:
        """Note the generator, and pass it on, or close it as CPython does."""
        self.finalized.append(agen.__name__)
        if self.before[1] is not None:
            self.before[1](agen)
        else:
            with suppress(StopIteration):
                agen.aclose().send(None)

    def install(self) -> None:
        """Begin to track."""
        self.before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self.firstiter, self.finalizer)

    def remove(self) -> None:
        """Give back what was there before."""
        sys.set_asyncgen_hooks(*self.before)


async def callers() -> AsyncGenerator[int, None]:
    """A generator that the caller iterates by hand; it waits for nothing."""
    yield 1


def iterate_by_hand() -> AsyncGenerator[int, None]:
    """A generator of the caller, started without any loop."""
    agen = callers()
    with pytest.raises(StopIteration):
        agen.asend(None).send(None)
    return agen


class TestBody:
    """Whatever is first iterated during a step gets the loop's hooks."""

    @pytest.mark.parametrize("suspend_before", [False, True])
    @pytest.mark.parametrize("step", [1, 2, 3])
    def test_dropped_in_a_step(self, inner: Inner, step: int, suspend_before: bool) -> None:
        """Started and dropped in the first step or in any other, borrowed or suspended, it is finalised by the loop
        (A7).
        """

        async def source() -> AsyncGenerator[int, None]:
            for number in range(1, 4):
                if suspend_before:
                    await inner.backend.checkpoint()
                if number == step:
                    await inner.start_and_drop()
                yield number

        assert list(inner.backend.drive(source())) == [1, 2, 3]
        assert (inner.events, inner.thread) == (DONE, threading.get_ident())
        assert settled()

    @pytest.mark.parametrize("first", [1, 2])
    def test_held_over_steps_then_dropped(self, inner: Inner, first: int) -> None:
        """Started in one step, dropped in another or between two, it is finalised by the loop (A7)."""
        held: list[Any] = []

        async def source() -> AsyncGenerator[int, None]:
            if first == 2:
                yield 0
            agen = inner.rows()
            held.append(agen)
            await anext(agen)
            del agen
            yield 1
            await inner.backend.checkpoint()
            yield 2

        generator = inner.backend.drive(source())
        for _ in range(first):
            next(generator)
        held.clear()
        assert list(generator) == [2]
        assert inner.events == DONE
        assert settled()

    def test_break_of_an_async_for(self, inner: Inner) -> None:
        """An `async for` that the body breaks out of leaves a generator that the loop finalises in good time (A7)."""

        async def source() -> AsyncGenerator[int, None]:
            async for number in inner.rows():
                yield number
                break
            while not inner.events[1:]:
                await inner.backend.sleep(0.001)
                yield 0

        items = list(inner.backend.drive(source()))
        assert items[0] == 1
        assert inner.events == DONE

    def test_source_closed_while_it_iterates(self, inner: Inner) -> None:
        """Closing the outer generator in the middle of its `async for` finalises the inner one by the end of close
        (A7).
        """

        async def source() -> AsyncGenerator[int, None]:
            async for number in inner.rows():
                yield number

        generator = inner.backend.drive(source())
        assert next(generator) == 1
        generator.close()
        gc.collect()
        assert inner.events == DONE
        assert settled()

    @pytest.mark.parametrize("suspend", [False, True])
    def test_no_later_than_the_runners_close(self, inner: Inner, suspend: bool) -> None:
        """What a body still holds when its runner closes is closed by the loop then (A7)."""
        held: list[Any] = []

        async def source() -> AsyncGenerator[int, None]:
            if suspend:
                await inner.backend.checkpoint()
            agen = inner.rows()
            held.append(agen)
            await anext(agen)
            yield 1

        with inner.backend.runner() as runner:
            assert list(runner.drive(source())) == [1]
            assert inner.events == []
        assert inner.events == DONE
        assert settled()

    def test_started_in_run(self, inner: Inner) -> None:
        """What Runner.run starts and drops, and what it starts and leaves, is finalised by the loop (A7)."""
        held: list[Any] = []

        async def leave() -> None:
            held.append(inner.rows())
            await anext(held[0])

        with inner.backend.runner() as runner:
            runner.run(inner.start_and_drop)
            while inner.events != DONE:  # the loop goes on only while something runs on it
                runner.run(inner.backend.sleep, 0.001)
            runner.run(leave)
        assert inner.events == DONE * 2
        assert settled()

    def test_started_in_an_interleaved_step(self, inner: Inner) -> None:
        """Of two runners stepped alternately, each finalises what its own bodies have dropped (A7)."""
        other = Inner(inner.backend)

        async def source(what: Inner) -> AsyncGenerator[int, None]:
            for number in range(4):
                agen = what.rows()
                await anext(agen)
                del agen
                yield number
                await what.backend.checkpoint()
            await what.closed(4)

        with inner.backend.runner() as one, inner.backend.runner() as two:
            first, second = one.drive(source(inner)), two.drive(source(other))
            assert list(zip(first, second, strict=True)) == [(number, number) for number in range(4)]
        assert sorted(inner.events) == sorted(other.events) == sorted(DONE * 4)
        assert settled()

    def test_the_source_itself(self, inner: Inner) -> None:
        """The driven generator has the loop's hooks too: without the face, the loop closes it (A7)."""
        with inner.backend.runner() as runner:
            agen = inner.rows()
            assert next(runner.drive(wrapper(agen))) == 1
            del agen
        assert inner.events == DONE
        assert settled()

    def test_dropped_in_another_thread(self, inner: Inner) -> None:
        """Dropped by another thread, the loop finalises it in its own thread, no later than the runner's close (A7)."""
        held: list[Any] = []

        async def source() -> AsyncGenerator[int, None]:
            held.append(inner.rows())
            await anext(held[0])
            yield 1
            yield 2

        with inner.backend.runner() as runner:
            generator = runner.drive(source())
            assert next(generator) == 1
            in_thread(held.clear)
            assert inner.thread == 0
            assert list(generator) == [2]
        assert (inner.events, inner.thread) == (DONE, threading.get_ident())
        assert settled()

    def test_collected_in_another_thread(self, inner: Inner) -> None:
        """Found by the cyclic collector in another thread, it is finalised in the loop's own (A7)."""

        async def source() -> AsyncGenerator[int, None]:
            agen = inner.rows()
            await anext(agen)
            cycle: list[Any] = [agen]
            cycle.append(cycle)
            del agen, cycle
            yield 1
            yield 2

        with inner.backend.runner() as runner:
            generator = runner.drive(source())
            assert next(generator) == 1
            in_thread(gc.collect)
            assert list(generator) == [2]
        assert (inner.events, inner.thread) == (DONE, threading.get_ident())
        assert settled()

    def test_unstarted_and_finished_ones(self, inner: Inner) -> None:
        """Inner generators that were never started, or that ended, are no concern of the hooks (A7)."""

        async def source() -> AsyncGenerator[int, None]:
            inner.rows()
            async with aclosing(inner.rows()) as agen:
                async for _ in agen:
                    pass
            yield 1

        assert list(inner.backend.drive(source())) == [1]
        assert inner.events == DONE
        assert settled()

    def test_bare(self) -> None:
        """On the bare backend what a body starts and drops is closed at once, and what it leaves, with the runner
        (A7).
        """
        events: list[str] = []

        async def rows(name: str) -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                events.append(name)

        held: list[Any] = []

        async def source() -> AsyncGenerator[int, None]:
            await anext(rows("dropped"))
            held.append(rows("left"))
            await anext(held[0])
            yield 1

        assert list(drive(source(), backend="bare")) == [1]
        assert events == ["dropped", "left"]
        assert settled()


async def wrapper(agen: AsyncGenerator[int, None]) -> AsyncGenerator[int, None]:
    """Yield what another generator yields."""
    async for item in agen:
        yield item


class TestCaller:
    """Whatever the caller first iterates between steps gets the hooks that it would have had without this library."""

    @pytest.mark.parametrize("suspend", [False, True])
    def test_without_hooks(self, backend: Backend, suspend: bool) -> None:
        """Without hooks, a caller's generator dropped between steps is closed at once, as in plain CPython (A7)."""

        async def source() -> AsyncGenerator[int, None]:
            for number in range(3):
                if suspend:
                    await backend.checkpoint()
                yield number

        assert closes_at_once()
        assert [closes_at_once() for _ in backend.drive(source())] == [True] * 3
        assert closes_at_once()
        assert settled()

    def test_like_plain_cpython(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        """A caller's generator whose cleanup waits, yields or fails, ends between steps just as without any step
        (A7).
        """
        told: list[tuple[Any, ...]] = []
        gc.collect()  # what others have left is not for us to tell

        def unraisable(args: Any) -> None:
            told.append((args.exc_type, str(args.exc_value), args.object.__class__))

        monkeypatch.setattr(sys, "unraisablehook", unraisable)

        class Pause:
            def __await__(self) -> Generator[None, None, None]:
                yield

        async def awaiting() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                told.append(("awaiting",))
                try:
                    await Pause()
                finally:
                    told.append(("after the wait",))

        async def yielding() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                told.append(("yielding",))
                yield 2
                told.append(("after the yield",))

        async def failing() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                raise LookupError("in cleanup")

        async def swallowing() -> AsyncGenerator[int, None]:
            try:
                yield 1
            except GeneratorExit:
                told.append(("swallowed",))

        def behaviour() -> list[tuple[Any, ...]]:
            told.clear()
            for function in (awaiting, yielding, failing, swallowing):
                agen = function()
                with pytest.raises(StopIteration):
                    agen.asend(None).send(None)
                del agen
                gc.collect()
            return list(told)

        plain = behaviour()
        assert plain

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            await backend.checkpoint()
            yield 2

        assert [behaviour() for _ in backend.drive(source())] == [plain, plain]
        assert behaviour() == plain

    def test_outlives_the_runner(self, backend: Backend) -> None:
        """A caller's generator started between steps and dropped after the end is closed as in plain CPython (A7)."""
        closed: list[bool] = []

        async def probe() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                closed.append(True)

        held: list[Any] = []

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            await backend.checkpoint()
            yield 2

        for _ in backend.drive(source()):
            agen = probe()
            with pytest.raises(StopIteration):
                agen.asend(None).send(None)
            held.append(agen)
            del agen
        assert closed == []
        held.clear()
        assert closed == [True, True]

    def test_started_before_dropped_within(self, backend: Backend) -> None:
        """A caller's generator started before the first step, dropped inside of one, is not the loop's (A7)."""
        closed: list[bool] = []

        async def probe() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                closed.append(True)

        held = [probe(), probe()]
        for index in range(2):
            with pytest.raises(StopIteration):
                held[index].asend(None).send(None)

        async def source() -> AsyncGenerator[int, None]:
            held.pop()
            yield len(closed)
            await backend.checkpoint()
            held.pop()
            yield len(closed)

        assert list(backend.drive(source())) == [1, 2]

    @pytest.mark.parametrize("between", [False, True])
    def test_own_hooks(self, inner: Inner, between: bool) -> None:
        """Hooks that the caller sets, before or between the steps, see the caller's generators and not the body's
        (A7).
        """
        tracker = Tracker()
        if not between:
            tracker.install()

        async def source() -> AsyncGenerator[int, None]:
            for number in range(4):
                await inner.start_and_drop()
                yield number
                await inner.backend.checkpoint()
            await inner.closed(4)

        for number in inner.backend.drive(source()):
            if between and number == 0:
                tracker.install()
            expected = (tracker.firstiter, tracker.finalizer)
            assert sys.get_asyncgen_hooks() == expected
            del expected
            iterate_by_hand()
        assert tracker.started == tracker.finalized == ["callers"] * 4
        assert sorted(inner.events) == sorted(DONE * 4)
        assert sys.get_asyncgen_hooks() == (tracker.firstiter, tracker.finalizer)
        tracker.remove()
        assert closes_at_once()

    def test_hooks_restored_by_the_caller(self, inner: Inner) -> None:
        """A caller that installs a tracker and gives back what it found disturbs nothing, in any round (A7)."""

        async def source() -> AsyncGenerator[int, None]:
            for number in range(4):
                await inner.start_and_drop()
                yield number
                await inner.backend.checkpoint()
            await inner.closed(4)

        trackers = [Tracker() for _ in range(4)]
        for number in inner.backend.drive(source()):
            trackers[number].install()
            iterate_by_hand()
            trackers[number].remove()
            assert closes_at_once()
        assert [tracker.started for tracker in trackers] == [["callers"]] * 4
        assert [tracker.finalized for tracker in trackers] == [["callers"]] * 4
        assert sorted(inner.events) == sorted(DONE * 4)
        assert settled()

    def test_chained_trackers(self, backend: Backend) -> None:
        """Trackers that chain to what they found, one installed before and one between the steps, both see all (A7)."""
        outer, between = Tracker(), Tracker()
        outer.install()

        async def source() -> AsyncGenerator[int, None]:
            for number in range(3):
                yield number
                await backend.checkpoint()

        for number in backend.drive(source()):
            if number == 1:
                between.install()
            iterate_by_hand()
        assert outer.started == outer.finalized == ["callers"] * 3
        assert between.started == between.finalized == ["callers"] * 2
        between.remove()
        outer.remove()
        assert settled()

    def test_tracker_installed_between_and_kept(self, inner: Inner) -> None:
        """A tracker installed between two steps and removed long after the end leaves hooks that do nothing (A7)."""
        tracker = Tracker()

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            await inner.start_and_drop()
            await inner.closed(1)
            yield 2

        generator = inner.backend.drive(source())
        assert next(generator) == 1
        tracker.install()
        assert list(generator) == [2]
        assert sys.get_asyncgen_hooks() == (tracker.firstiter, tracker.finalizer)
        iterate_by_hand()
        tracker.remove()
        assert closes_at_once()
        assert list(inner.backend.drive(one())) == [1]
        assert closes_at_once()
        assert inner.events == DONE

    @pytest.mark.parametrize("which", ["firstiter", "finalizer"])
    def test_only_one_hook(self, inner: Inner, which: str) -> None:
        """A caller that sets only one of the two hooks between steps has none for the other (A7)."""
        seen: list[str] = []
        closed: list[bool] = []

        def note(agen: Any) -> None:
            seen.append(agen.__name__)

        async def probe() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                closed.append(True)

        async def source() -> AsyncGenerator[int, None]:
            for number in range(3):
                await inner.start_and_drop()
                yield number
                await inner.backend.checkpoint()
            await inner.closed(3)

        for number in inner.backend.drive(source()):
            if number == 0:
                hooks: dict[str, Any] = {which: note}
                sys.set_asyncgen_hooks(**hooks)
            agen = probe()
            with pytest.raises(StopIteration):
                agen.asend(None).send(None)
            del agen
            # A finalizer that does nothing leaves the generator to be cleared without having been closed.
            assert len(closed) == (number + 1 if which == "firstiter" else 0)
        assert seen == ["probe"] * 3
        assert sorted(inner.events) == sorted(DONE * 3)

    def test_hooks_equal_the_callers_after_every_end(self, backend: Backend) -> None:
        """After the end, close, error or drop, and after a runner, the hooks are the caller's very own (A7)."""
        tracker = Tracker()
        tracker.install()
        mine = (tracker.firstiter, tracker.finalizer)

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            await backend.checkpoint()
            raise LookupError

        generator = backend.drive(source())
        assert next(generator) == 1
        assert sys.get_asyncgen_hooks() == mine
        with pytest.raises(LookupError):
            next(generator)
        assert sys.get_asyncgen_hooks() == mine
        for _ in backend.drive(source()):
            break
        assert sys.get_asyncgen_hooks() == mine
        with backend.runner() as runner:
            assert sys.get_asyncgen_hooks() == mine
            runner.run(backend.checkpoint)
            assert sys.get_asyncgen_hooks() == mine
        assert sys.get_asyncgen_hooks() == mine
        assert tracker.started == []

    def test_loop_in_the_body_of_the_for_loop(self, inner: Inner) -> None:
        """In asyncio.run or trio.run between steps, its own hooks apply; the driven body keeps its loop's (A7)."""
        native = Inner(inner.backend)

        async def source() -> AsyncGenerator[int, None]:
            for number in range(3):
                agen = inner.rows()
                await anext(agen)
                yield number
                await inner.backend.checkpoint()
                del agen
            await inner.closed(3)

        async def start_and_wait() -> None:
            await native.start_and_drop()
            await native.closed(1)

        for _ in inner.backend.drive(source()):
            native.events.clear()
            run_natively(inner.backend, start_and_wait)
            assert native.events == DONE
            assert closes_at_once()
        assert sorted(inner.events) == sorted(DONE * 3)
        assert settled()

    def test_generator_of_the_caller_iterated_on_in_a_loop(self, backend: Backend) -> None:
        """A generator that the caller started between steps may be finished inside of a loop, and the reverse (A7)."""
        shared: list[AsyncGenerator[int, None]] = []

        async def numbers() -> AsyncGenerator[int, None]:
            yield 1
            await backend.checkpoint()
            yield 2

        async def source() -> AsyncGenerator[int, None]:
            yield 0
            yield await anext(shared[0])

        generator = backend.drive(source())
        assert next(generator) == 0
        shared.append(numbers())
        with pytest.raises(StopIteration):
            shared[0].asend(None).send(None)
        assert next(generator) == 2
        shared.clear()
        assert list(generator) == []
        assert settled()

    def test_many_generators_of_the_caller(self, backend: Backend) -> None:
        """However many generators the caller starts between steps, and in whatever order they end, none is the loop's
        (A7).
        """
        closed = 0

        async def probe() -> AsyncGenerator[None, None]:
            nonlocal closed
            try:
                yield
            finally:
                closed += 1

        async def source() -> AsyncGenerator[int, None]:
            for number in range(40):
                agen = own()
                await anext(agen)
                yield number
                del agen
                if number % 7 == 0:
                    await backend.checkpoint()
            while len(ended) < 40:
                await backend.checkpoint()

        ended: list[bool] = []

        async def own() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                with suppress(BaseException):  # trio cancels what it finalises, unless it is shielded
                    await backend.checkpoint()
                ended.append(True)

        held: list[Any] = []
        for number in backend.drive(source()):
            for _ in range(5):
                agen = probe()
                with pytest.raises(StopIteration):
                    agen.asend(None).send(None)
                held.append(agen)
                del agen
            if number % 3 == 0:
                del held[::2]
        open_still = len(held)
        assert closed == 200 - open_still
        held.clear()
        assert closed == 200
        assert len(ended) == 40
        assert settled()

    def test_in_a_thread(self, backend: Backend) -> None:
        """In a thread that has hooks of its own, another thread's steps change nothing (A7)."""
        tracker = Tracker()
        tracker.install()

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            await backend.checkpoint()

        assert in_thread(lambda: (list(backend.drive(source())), sys.get_asyncgen_hooks() == (None, None))) == (
            [1],
            True,
        )
        assert sys.get_asyncgen_hooks() == (tracker.firstiter, tracker.finalizer)
        tracker.remove()
        assert settled()


async def one() -> AsyncGenerator[int, None]:
    """Yield 1."""
    yield 1


def test_inner_generator_in_a_script(backend: Backend) -> None:
    """What a body has dropped, or still holds, is closed when the script simply ends its `for` loop; no noise (A7)."""
    script = """
    async def inner(name):
        try:
            yield 1
        finally:
            await sleep(0.001)
            say("closed", name)
    held = []
    async def source():
        await anext(inner("dropped"))
        held.append(inner("held"))
        await anext(held[0])
        yield 1
        await sleep(0.01)
    if BACKEND["backend"] == "trio":
        plain_sleep = sleep
        async def sleep(seconds):
            with trio.CancelScope(shield=True):
                await plain_sleep(seconds)
    for _ in drive(source(), **BACKEND):
        pass
    say("end")
    """
    child = run_child(script, backend, flags=("-Walways",))
    assert (child.status, child.out) == (0, ["closed dropped", "closed held", "end"])
    # trio itself warns where a generator is finalised by the collector that somebody dropped.
    assert [line for line in child.err if "ResourceWarning" not in line and not line.startswith(" ")] == []


def test_a_finalizer_may_come_at_any_time() -> None:
    """What a thread has one of is whole for a finalizer that runs inside of the thread's very first look at it, as the
    collector may have it (A7, A8).
    """
    seen: list[tuple[object, ...]] = []

    def look(*_: object) -> None:
        seen.append((this_thread.own, observers.watchers, observers.recorders))

    def first_looks() -> tuple[object, ...]:
        sys.setprofile(look)  # with each call inside of the looks
        try:
            return (this_thread.own, observers.watchers, observers.recorders)
        finally:
            sys.setprofile(None)

    looked = in_thread(first_looks)
    assert set(seen) == {looked}
