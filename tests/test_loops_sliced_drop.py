"""Generators that nobody closed: dropped in their thread, elsewhere, in a running loop, at exit (SEMANTICS A8)."""

from __future__ import annotations

import gc
import sys
import threading
import warnings
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import drive
from asyncgen_tools.loops.ends import this_thread
from tests.children import run_child
from tests.test_loops_sliced import in_thread, run_natively
from tests.thread_state import settled, traces
from tests.ways import without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from asyncgen_tools import SyncGenerator
    from tests.conftest import Backend


class Resource:
    """Something that an async generator opens and, awaiting, closes."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.events: list[str] = []

    async def rows(self) -> AsyncGenerator[int, None]:
        """Yield numbers; note when cleanup begins and ends."""
        self.events.append("opened")
        try:
            for number in range(1000):
                yield number
        finally:
            self.events.append("closing")
            await self.backend.checkpoint()
            await self.backend.checkpoint()
            self.events.append("closed")

    def drive(self) -> SyncGenerator[int, Any, None]:
        """The rows, driven; made on a line of this file, which a warning is to name."""
        return drive(self.rows(), backend=self.backend.name, backend_options=self.backend.options)


DRIVE_LINE = Resource.drive.__code__.co_firstlineno + 2
ALL = ["opened", "closing", "closed"]


@pytest.fixture
def resource(backend: Backend) -> Resource:
    """A resource on this run's backend."""
    return Resource(backend)


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `sys.unraisablehook` was called with."""
    caught: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", caught.append)
    return caught


@contextmanager
def lost_generator(name: str = "Resource.rows") -> Generator[None, None, None]:
    """Within the block exactly one warning is given: a ResourceWarning that names the generator and where it was
    made. The collector runs there only when it is called, not by itself where the generator could be closed.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]
    assert name in str(caught[0].message)
    assert (caught[0].filename, caught[0].lineno) == (__file__, DRIVE_LINE)


class TestOwnThread:
    """Dropped in its own thread, outside of any loop: closed at once."""

    @pytest.mark.parametrize("steps", [1, 5, 100])
    def test_break_and_drop(self, resource: Resource, steps: int) -> None:
        """Breaking out of a `for` loop runs the `finally` block, awaits and all, before the next line (A8)."""
        for number in resource.drive():
            if number == steps:
                break
        assert resource.events == ALL
        assert settled()

    def test_del(self, resource: Resource) -> None:
        """Deleting the last reference runs the `finally` block at once (A8)."""
        generator = resource.drive()
        assert next(generator) == 0
        del generator
        assert resource.events == ALL
        assert settled()

    def test_drop_of_the_iterator(self, resource: Resource) -> None:
        """What `iter()` gives keeps the generator open, and its end closes it (A8)."""
        iterator = iter(resource.drive())
        assert next(iterator) == 0
        assert resource.events == ["opened"]
        del iterator
        assert resource.events == ALL

    def test_exception_in_the_loop(self, resource: Resource) -> None:
        """An exception in the body of the `for` loop closes the generator when its traceback is gone (A8)."""

        def consume() -> None:
            for number in resource.drive():
                if number == 3:
                    raise LookupError

        with pytest.raises(LookupError):
            consume()
        assert resource.events == ALL

    def test_thread_lets_go_of_the_loop(self, resource: Resource) -> None:
        """A thread keeps a loop as long as that has a generator, and no longer, however it ended (A8, A18)."""
        busy = this_thread.own.busy
        ends: tuple[Callable[[SyncGenerator[int, Any, Any]], object], ...] = (list, lambda g: g.close(), next)
        for end in ends:
            generator = resource.drive()
            assert next(generator) == 0
            (loop,) = map(weakref.ref, busy)
            end(generator)
            del generator
            assert len(busy) == 0
            gc.collect()
            assert loop() is None
        assert settled()

    def test_drop_in_a_runner(self, resource: Resource) -> None:
        """A generator of a runner that is dropped is closed at once; the runner goes on (A8)."""
        with resource.backend.runner() as runner:
            for _ in range(3):
                resource.events.clear()
                for number in runner.drive(resource.rows()):
                    if number == 2:
                        break
                assert resource.events == ALL
                assert traces() == []
        assert settled()

    def test_unstarted(self, resource: Resource) -> None:
        """A generator that was dropped before its first step runs nothing and warns of nothing (A8)."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            resource.drive()
            with resource.backend.runner() as runner:
                runner.drive(resource.rows())
            generator = resource.drive()
            in_thread(lambda: None)
            del generator
            gc.collect()
        assert caught == []
        assert resource.events == []
        assert settled()

    def test_unstarted_elsewhere(self, resource: Resource) -> None:
        """An unstarted generator dropped in another thread, or in a running loop, is no loss and gives no warning
        (A8).
        """
        generators = [resource.drive(), resource.drive()]

        async def main() -> None:
            generators.pop()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            in_thread(generators.pop)
            run_natively(resource.backend, main)
            gc.collect()
        assert (caught, generators, resource.events) == ([], [], [])
        assert settled()

    def test_cyclic_collector(self, resource: Resource) -> None:
        """A generator in a cycle is closed when the cyclic collector finds it, in its own thread (A8)."""
        generator = resource.drive()
        assert next(generator) == 0
        cycle: list[Any] = [generator]
        cycle.append(cycle)
        del generator, cycle
        assert resource.events == ["opened"]
        gc.collect()
        assert resource.events == ALL
        assert settled()

    @pytest.mark.parametrize("collections", [0, 1, 2])
    def test_cyclic_collector_finds_the_loops_too(self, backend: Backend, collections: int) -> None:
        """Several in one cycle, whose event loops are garbage with them, are all closed, whatever is finalised first
        (A8).
        """
        resources = [Resource(backend) for _ in range(3)]
        with warnings.catch_warnings(), without_collector():
            warnings.simplefilter("error")
            cycle: list[Any] = [resource.drive() for resource in resources]
            assert [next(generator) for generator in cycle] == [0, 0, 0]
            cycle.append(cycle)
            for _ in range(collections):  # each turns the order of what is tracked
                gc.collect()
            del cycle
            gc.collect()
            gc.collect()
        assert [resource.events for resource in resources] == [ALL] * 3
        assert settled()

    def test_bare_in_a_running_loop_closes_no_others(self, backend: Backend) -> None:
        """What was dropped where it cannot be closed is closed when its loop can run, which the next use of `bare`, the
        one that works in a running loop, leaves for later (A8).
        """
        closed: list[bool] = []

        async def holding() -> AsyncGenerator[int]:
            async with anyio.create_task_group():
                try:
                    yield 0
                finally:
                    await backend.checkpoint()
                    closed.append(True)

        held = [backend.drive(holding())]
        assert next(held[0]) == 0

        async def main() -> None:
            with pytest.warns(ResourceWarning, match="was dropped before its end"):
                held.clear()
            assert list(drive(one(), backend="bare")) == [1]
            assert closed == []

        run_natively(backend, main)
        assert closed == []
        assert list(backend.drive(one())) == [1]
        assert closed == [True]
        assert settled()

    def test_cyclic_collector_in_a_step(self, resource: Resource) -> None:
        """Found by the collector inside a step of another generator, it is closed with the thread's next use (A8)."""
        generator = resource.drive()
        assert next(generator) == 0
        cycle: list[Any] = [generator]
        cycle.append(cycle)

        async def collecting() -> AsyncGenerator[None, None]:
            gc.collect()
            yield
            await resource.backend.checkpoint()
            yield

        with lost_generator():
            del generator, cycle
            assert len(list(resource.backend.drive(collecting()))) == 2
        assert list(resource.backend.drive(one())) == [1]
        assert resource.events == ALL
        assert settled()

    @pytest.mark.asyncgen_leaks("off")  # which fails by an error that nobody can catch
    def test_error_in_cleanup(self, backend: Backend, unraisable: list[Any]) -> None:
        """An error of the cleanup of a dropped generator goes to sys.unraisablehook, as it is (A8)."""

        async def clumsy() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await backend.checkpoint()
                raise LookupError("in cleanup")

        for _ in backend.drive(clumsy()):
            break
        assert [(args.exc_type, args.exc_value.args) for args in unraisable] == [(LookupError, ("in cleanup",))]
        assert settled()

    @pytest.mark.asyncgen_leaks("off")  # it leaks on purpose
    def test_yield_in_cleanup(self, backend: Backend, unraisable: list[Any]) -> None:
        """A dropped generator that yields instead of ending is RuntimeError in sys.unraisablehook, as in CPython
        (A8).
        """

        async def stubborn() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                yield 2

        for _ in backend.drive(stubborn()):
            break
        assert [type(args.exc_value) for args in unraisable] == [RuntimeError]
        assert "ignored GeneratorExit" in str(unraisable[0].exc_value)
        assert settled()

    def test_many(self, resource: Resource) -> None:
        """Generators dropped by the dozen, at once, are all closed (A8)."""
        generators = [resource.drive() for _ in range(24)]
        assert [next(generator) for generator in generators] == [0] * 24
        generators.clear()
        assert sorted(resource.events) == sorted(ALL * 24)
        assert settled()


class TestElsewhere:
    """Dropped where it cannot be closed: a ResourceWarning says so, and its thread closes it when it can."""

    def test_in_another_thread(self, resource: Resource) -> None:
        """Dropped in another thread, it is closed when its own thread next drives anything (A8)."""
        generators = [resource.drive()]
        assert next(generators[0]) == 0
        with lost_generator():
            in_thread(generators.clear)
        assert resource.events == ["opened"]
        assert list(resource.backend.drive(one())) == [1]
        assert resource.events == ALL
        assert settled()

    def test_in_another_thread_while_stepping(self, resource: Resource) -> None:
        """Its thread closes it soon also if that does nothing but step one other generator, however fast (A8)."""
        generators = [resource.drive()]
        with resource.backend.drive(resource.rows()) as other:
            assert (next(other), next(generators[0])) == (0, 0)
            with lost_generator():
                in_thread(generators.clear)
            for _ in range(200):
                next(other)
            assert resource.events == ["opened", *ALL]
        assert settled()

    def test_of_a_runner_in_another_thread(self, resource: Resource) -> None:
        """A generator of a runner dropped in another thread is closed no later than the runner (A8)."""
        with resource.backend.runner() as runner:
            generators: list[Any] = [runner.drive(resource.rows())]
            assert next(generators[0]) == 0
            with pytest.warns(ResourceWarning, match=r"Resource\.rows"):
                in_thread(generators.clear)
            assert resource.events == ["opened"]
        assert resource.events == ALL
        assert settled()

    def test_runner_use_closes_the_lost(self, resource: Resource) -> None:
        """`Runner.run` closes what was dropped in another thread before (A8)."""
        with resource.backend.runner() as runner:
            generators: list[Any] = [runner.drive(resource.rows())]
            assert next(generators[0]) == 0
            with pytest.warns(ResourceWarning, match=r"Resource\.rows"):
                in_thread(generators.clear)
            runner.run(resource.backend.checkpoint)
            assert resource.events == ALL

    @pytest.mark.parametrize("natively", [False, True])
    def test_inside_a_running_loop(self, resource: Resource, natively: bool) -> None:
        """Dropped inside a loop that runs in its own thread, it does not block that, and is closed later (A8)."""
        generators = [resource.drive()]
        assert next(generators[0]) == 0

        async def source() -> AsyncGenerator[int, None]:
            generators.clear()
            assert resource.events == ["opened"]
            yield 1

        async def main() -> None:
            async for _ in source():
                pass

        with lost_generator():
            if natively:
                run_natively(resource.backend, main)
            else:
                assert list(resource.backend.drive(source())) == [1]
        assert list(resource.backend.drive(one())) == [1]
        assert resource.events == ALL
        assert settled()

    def test_inside_a_step_of_its_own_runner(self, resource: Resource) -> None:
        """Dropped by a neighbour's body, it is closed when that step is over, or with the runner (A8)."""
        with resource.backend.runner() as runner:
            generators: list[Any] = [runner.drive(resource.rows())]
            assert next(generators[0]) == 0

            async def source() -> AsyncGenerator[int, None]:
                generators.clear()
                yield 1
                await resource.backend.checkpoint()
                yield 2

            with pytest.warns(ResourceWarning, match=r"Resource\.rows"):
                assert list(runner.drive(source())) == [1, 2]
        assert resource.events == ALL
        assert settled()

    def test_thread_that_has_died(self, resource: Resource, unraisable: list[Any]) -> None:
        """Dropped after its thread has died, nothing can close it: a ResourceWarning, and no other noise (A8)."""
        generators: list[Any] = []

        def begin() -> int:
            generators.append(resource.drive())
            return next(generators[0])  # type: ignore[no-any-return]

        assert in_thread(begin) == 0
        with lost_generator():
            generators.clear()
        assert unraisable == []
        assert "opened" in resource.events
        assert settled()

    def test_thread_that_ends_soon(self, resource: Resource, unraisable: list[Any]) -> None:
        """Dropped elsewhere while its thread lives, which then ends without any other step: there is no second warning,
        of an event loop that nobody has closed either (A8).
        """
        generators: list[Any] = []
        begun, dropped = threading.Event(), threading.Event()

        def body() -> None:
            generators.append(resource.drive())
            next(generators[0])
            begun.set()
            dropped.wait(60)

        with lost_generator():
            thread = threading.Thread(target=body)
            thread.start()
            assert begun.wait(60)
            generators.clear()
            dropped.set()
            thread.join()
        assert unraisable == []
        assert resource.events[0] == "opened"
        assert settled()

    def test_thread_that_dies_with_it(self, resource: Resource) -> None:
        """A local variable of a thread that ends is closed there, before the thread is gone (A8)."""

        def body() -> None:
            generator = resource.drive()
            assert next(generator) == 0

        in_thread(body)
        assert resource.events == ALL
        assert settled()

    def test_thread_local(self, resource: Resource) -> None:
        """A generator kept in a threading.local of a thread that ends makes no noise but the ResourceWarning (A8)."""
        local = threading.local()

        def body() -> None:
            local.generator = resource.drive()
            assert next(local.generator) == 0

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            in_thread(body)
            gc.collect()
        assert resource.events == ALL or [warning.category for warning in caught] == [ResourceWarning]

    @pytest.mark.asyncgen_leaks("off")  # which fails by an error that nobody can catch
    def test_error_in_late_cleanup(self, backend: Backend, unraisable: list[Any]) -> None:
        """An error of a cleanup that came late goes to sys.unraisablehook, not to whoever uses the thread (A8)."""

        async def clumsy() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                raise LookupError("in cleanup")

        generators = [backend.drive(clumsy())]
        assert next(generators[0]) == 1
        with pytest.warns(ResourceWarning, match="clumsy"):
            in_thread(generators.clear)
        assert list(backend.drive(one())) == [1]
        assert [(args.exc_type, args.exc_value.args) for args in unraisable] == [(LookupError, ("in cleanup",))]
        assert settled()

    def test_warnings_as_errors(self, resource: Resource, unraisable: list[Any]) -> None:
        """Where ResourceWarning is an error it goes to sys.unraisablehook, and the generator is closed all the same
        (A8).
        """
        generators = [resource.drive()]
        assert next(generators[0]) == 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            in_thread(generators.clear)
        assert list(resource.backend.drive(one())) == [1]
        assert resource.events == ALL
        assert [args.exc_type for args in unraisable] == [ResourceWarning]

    def test_collector_in_another_thread(self, resource: Resource) -> None:
        """A cycle that the collector finds in another thread is a lost generator like any other (A8)."""
        generator = resource.drive()
        assert next(generator) == 0
        cycle: list[Any] = [generator]
        cycle.append(cycle)
        del generator, cycle
        with lost_generator():
            in_thread(gc.collect)
        assert list(resource.backend.drive(one())) == [1]
        assert resource.events == ALL

    def test_bare(self) -> None:
        """On the bare backend, too, a generator dropped in another thread is closed by its own (A8)."""
        events: list[str] = []

        async def source() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                events.append("closed")

        generators = [drive(source(), backend="bare")]
        assert next(generators[0]) == 1
        with pytest.warns(ResourceWarning, match="source"):
            in_thread(generators.clear)
        assert events == []
        assert list(drive(one(), backend="bare")) == [1]
        assert events == ["closed"]
        assert settled()


class TestDroppedRunner:
    """A runner that nobody closed."""

    def test_in_its_thread(self, resource: Resource) -> None:
        """A dropped runner is closed at once, and its generators with it; a ResourceWarning names the line (A8)."""
        runner = resource.backend.runner()
        generator = runner.drive(resource.rows())
        assert next(generator) == 0
        with pytest.warns(ResourceWarning, match="unclosed <Runner") as warned:
            del runner
        assert [warning.filename for warning in warned] == [__file__]
        assert resource.events == ALL
        assert list(generator) == []
        assert settled()

    def test_elsewhere(self, resource: Resource, unraisable: list[Any]) -> None:
        """A runner dropped in another thread is a ResourceWarning, and no other noise (A8)."""
        runners = [resource.backend.runner()]
        runners[0].run(resource.backend.checkpoint)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            in_thread(runners.clear)
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        assert "unclosed <Runner" in str(caught[0].message)
        assert unraisable == []
        assert traces() == []
        assert list(resource.backend.drive(one())) == [1]
        assert settled()

    def test_unused(self, backend: Backend) -> None:
        """A runner that was never used is dropped without a warning (A8)."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            backend.runner()
            gc.collect()
        assert caught == []
        assert settled()

    def test_generator_of_a_dropped_runner(self, resource: Resource) -> None:
        """A generator whose runner was dropped before its first use runs to its end, and nothing of it is left (A8)."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert list(resource.backend.runner().drive(one())) == [1]
            gc.collect()
        assert [warning for warning in caught if "unclosed <Runner" not in str(warning.message)] == []
        assert settled()


async def one() -> AsyncGenerator[int, None]:
    """Yield 1."""
    yield 1


EXITS = {
    "end": "",
    "sys.exit": "sys.exit(0)",
    "suspended": "next(generator); sys.exit(0)",
}


class TestInterpreterExit:
    """At interpreter exit nothing blocks, and nothing is noisy but a ResourceWarning where those are shown."""

    SCRIPT = """
    async def rows():
        try:
            yield 1
            await sleep(0)
            yield 2
        finally:
            await sleep_forever()

    generator = drive(rows(), **BACKEND)
    assert next(generator) == 1
    """

    @pytest.mark.parametrize("end", EXITS)
    def test_quiet(self, backend: Backend, end: str) -> None:
        """A generator left in a global lets the interpreter end at once, in silence (A8)."""
        child = run_child(self.SCRIPT + EXITS[end], backend)
        assert (child.status, child.out, child.err) == (0, [], [])

    @pytest.mark.parametrize("flags", [("-Walways",), ("-Xdev",)])
    @pytest.mark.parametrize("end", ["end", "suspended"])
    def test_warnings_shown(self, backend: Backend, end: str, flags: tuple[str, ...]) -> None:
        """Where ResourceWarnings are shown, one names the generator and the line that made it; nothing else is (A8)."""
        child = run_child(self.SCRIPT + EXITS[end], backend, flags=flags)
        assert (child.status, child.out) == (0, [])
        told = [line for line in child.err if not line.startswith(" ")]
        assert len(told) == 1, child.err
        assert "<string>:" in told[0]
        assert "ResourceWarning: " in told[0]
        assert "rows" in told[0]

    def test_warnings_are_errors(self, backend: Backend) -> None:
        """Where warnings are errors, the one of a generator does not keep the next one from being let go of (A8)."""
        script = self.SCRIPT + "another = drive(rows(), **BACKEND)\n    assert next(another) == 1\n    "
        child = run_child(script, backend, flags=("-Werror::ResourceWarning",))
        assert (child.status, child.out) == (0, [])
        told = [line for line in child.err if line.startswith("ResourceWarning: rows was still open at the exit")]
        assert len(told) == 2
        assert sum("Exception ignored in" in line for line in child.err) == 2

    def test_uncaught_exception(self, backend: Backend) -> None:
        """A generator held by the traceback of the exception that ends the program adds nothing to that (A8)."""
        child = run_child(self.SCRIPT + "raise SystemExit('the end')", backend)
        assert (child.status, child.out, child.err) == (1, [], ["the end"])

    @pytest.mark.parametrize("flags", [(), ("-Walways",)])
    def test_runner(self, backend: Backend, flags: tuple[str, ...]) -> None:
        """An open runner with a generator and a background task lets the interpreter end, without other noise (A8)."""
        script = (
            self.SCRIPT
            + """
    runner = Runner(**BACKEND)
    async def begin():
        if BACKEND["backend"] == "trio":
            trio.lowlevel.spawn_system_task(trio.sleep_forever)
        else:
            tasks.append(asyncio.create_task(sleep_forever()))
    tasks = []
    runner.run(begin)
    runner.run(sleep, 0)
    other = runner.drive(rows())
    assert next(other) == 1
    """
        )
        child = run_child(script, backend, flags=flags)
        assert (child.status, child.out) == (0, [])
        told = [line for line in child.err if not line.startswith(" ")]
        assert [line for line in told if "ResourceWarning: " not in line] == []
        assert [line for line in told if "rows" not in line and "<Runner" not in line] == []
        assert bool(told) == bool(flags)

    def test_daemon_thread_in_a_step(self, backend: Backend) -> None:
        """A daemon thread that waits in a step for ever does not keep the interpreter, nor make it complain (A8)."""
        script = """
        async def rows():
            inside.set()
            await sleep_forever()
            yield 1
        inside = threading.Event()
        threading.Thread(target=lambda: next(drive(rows(), **BACKEND)), daemon=True).start()
        assert inside.wait(10)
        """
        child = run_child(script, backend)
        assert (child.status, child.out, child.err) == (0, [], [])

    @pytest.mark.parametrize("flags", [(), ("-Walways",)])
    def test_lost_in_asyncio_run(self, backend: Backend, flags: tuple[str, ...]) -> None:
        """What was dropped inside of a loop that the thread ran last of all is no noise at exit (A8)."""
        script = """
        async def rows():
            try:
                yield 1
            finally:
                await sleep(0)
                say("closed")
        generator = drive(rows(), **BACKEND)
        next(generator)
        async def main():
            global generator
            del generator
        if BACKEND["backend"] == "trio":
            trio.run(main)
        else:
            asyncio.run(main())
        """
        child = run_child(script, backend, flags=flags)
        assert child.status == 0
        told = [line for line in child.err if not line.startswith(" ")]
        assert bool(told) == bool(flags), child.err
        assert all("ResourceWarning: " in line and "rows" in line for line in told)

    @pytest.mark.parametrize("flags", [(), ("-Walways",)])
    def test_bare(self, flags: tuple[str, ...]) -> None:
        """A generator on the bare backend left in a global is no noise either (A8)."""
        script = """
        from asyncgen_tools import drive
        async def rows():
            try:
                yield 1
            finally:
                print("closed", flush=True)
        generator = drive(rows(), backend="bare")
        next(generator)
        """
        child = run_child(script, flags=flags)
        assert child.status == 0
        assert [line for line in child.err if not line.startswith(" ") and "rows" not in line] == []
        assert child.out == ["closed"] or bool(child.err) == bool(flags)
