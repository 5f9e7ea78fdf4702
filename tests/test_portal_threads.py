"""Portals in several threads, and generators that are dropped in whatever thread (SEMANTICS A2, A8, A17)."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import Portal, hosted
from asyncgen_tools.errors import ClosedError
from asyncgen_tools.loops.background import BackgroundLoop
from tests.conftest import BACKENDS
from tests.test_host_cancellation import wait_for_event
from tests.test_portal import portal_fixture as portal_fixture  # noqa: PLC0414  # pytest finds it here
from tests.ways import ProbeError, caught, numbers, without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from asyncgen_tools.loops.background_hosts import Line
    from tests.conftest import Backend


@pytest.fixture(name="executor")
def executor_fixture() -> Iterator[ThreadPoolExecutor]:
    """Other threads."""
    with ThreadPoolExecutor(8) as executor:
        yield executor


class Cleanup:
    """A generator that waits in its steps, and says what becomes of it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.waits = threading.Event()
        self.ended = threading.Event()

    async def waiting(self, first: int = 0) -> AsyncGenerator[int, None]:
        """Yield so many items, then wait for ever; the cleanup waits, too."""
        try:
            for number in range(first):
                yield number
            self.waits.set()
            await wait_for_event(self.backend)
        finally:
            await self.backend.checkpoint()
            await self.backend.sleep(0.001)
            self.ended.set()

    async def holding(self) -> AsyncGenerator[int, None]:
        """Yield 1 for ever."""
        try:
            while True:
                yield 1
        finally:
            await self.backend.checkpoint()
            self.ended.set()


# Steps from many threads ----------------------------------------------------------------------------------------------


def test_steps_from_several_threads(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Any thread may take any step; the body notices nothing (A17)."""
    places: set[int] = set()

    async def body() -> AsyncGenerator[int, Any]:
        for number in range(20):
            places.add(threading.get_ident())
            await backend.checkpoint()
            assert (yield number) in {None, "sent"}

    generator = portal.drive(body())
    assert next(generator) == 0
    assert [executor.submit(generator.send, "sent").result(10) for _ in range(10)] == list(range(1, 11))
    assert list(generator) == list(range(11, 20))
    assert len(places) == 1


def test_generators_of_several_threads(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Threads that drive generators of one portal at the same time each get their own items (A17)."""

    async def body(start: int) -> AsyncGenerator[int, None]:
        for number in range(50):
            await backend.checkpoint()
            yield start + number

    results = [executor.submit(list, portal.drive(body(1_000 * number))) for number in range(8)]
    for number, result in enumerate(results):
        assert result.result(30) == list(range(1_000 * number, 1_000 * number + 50))


def test_first_use_in_several_threads(backend: Backend, executor: ThreadPoolExecutor) -> None:
    """A portal that several threads use first at the same time starts one thread (A17)."""
    portal = backend.portal()

    async def ident() -> int:
        return threading.get_ident()

    barrier = threading.Barrier(8)

    def use() -> int:
        barrier.wait(10)
        return portal.run(ident)

    assert len({result.result(30) for result in [executor.submit(use) for _ in range(8)]}) == 1
    portal.close()


@pytest.mark.parametrize("step", ["next", "send", "throw"])
def test_two_threads_step_one_generator(
    portal: Portal, backend: Backend, executor: ThreadPoolExecutor, step: str
) -> None:
    """A step while another thread takes one is ValueError("generator already executing"), and does no harm (A2)."""
    waits, goes_on = threading.Event(), anyio.Event()

    async def body() -> AsyncGenerator[int, Any]:
        waits.set()
        await goes_on.wait()
        yield 1
        yield 2

    generator = portal.drive(body())
    running = executor.submit(next, generator)
    assert waits.wait(10)
    assert generator.gi_running
    uses: dict[str, Callable[[], object]] = {
        "next": lambda: next(generator),
        "send": lambda: generator.send(1),
        "throw": lambda: generator.throw(ProbeError()),
    }
    exc = caught(uses[step])
    assert isinstance(exc, ValueError)
    assert str(exc) == "generator already executing"

    async def go_on() -> None:
        goes_on.set()

    portal.run(go_on)
    assert running.result(10) == 1
    assert list(generator) == [2]


# Closing from another thread ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_close_during_a_step(
    portal: Portal, backend: Backend, executor: ThreadPoolExecutor, prefetch: int, first: int
) -> None:
    """`close()` from another thread cancels the step that runs and waits for the cleanup, which may itself wait; the
    step is a ClosedError there (A17).
    """
    cleanup = Cleanup(backend)
    generator = portal.drive(cleanup.waiting(first), prefetch=prefetch)
    for _ in range(first):
        next(generator)
    running = executor.submit(next, generator)
    assert cleanup.waits.wait(10)
    while not generator.gi_running:
        assert not running.done()
    generator.close()
    assert cleanup.ended.is_set()
    with pytest.raises(ClosedError, match="closed by another thread"):
        running.result(10)
    assert list(generator) == []
    assert list(portal.drive(numbers())) == [1, 2]


def test_close_just_after_a_step(portal: Portal, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed by another thread when its step has ended and the stepping thread has not woken up yet, a generator still
    gives the item of that step (A3, A17).
    """
    generator = portal.drive(numbers())
    assert next(generator) == 1

    def wait_and_linger(loop: BackgroundLoop, line: Line) -> None:
        wait(loop, line)
        executor.submit(generator.close).result(20)

    wait = BackgroundLoop.wait
    monkeypatch.setattr(BackgroundLoop, "wait", wait_and_linger)
    assert next(generator) == 2
    monkeypatch.undo()
    with pytest.raises(ClosedError):
        next(generator)


def test_close_reports_what_the_cleanup_raised(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Errors of the cleanup come out of the close that caused it, and are the context of the step's error (A9, A17)."""
    waits, raised = threading.Event(), ProbeError()

    async def body() -> AsyncGenerator[int, None]:
        try:
            waits.set()
            await wait_for_event(backend)
            yield 1
        finally:
            raise raised

    generator = portal.drive(body())
    running = executor.submit(next, generator)
    assert waits.wait(10)
    assert caught(generator.close) is raised
    with pytest.raises(ClosedError) as closed:
        running.result(10)
    assert closed.value.__context__ is raised


def test_close_during_a_step_that_goes_on(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """A generator that swallows the cancellation and yields is closed there (A17)."""
    waits, log = threading.Event(), list[str]()

    async def body() -> AsyncGenerator[int, None]:
        try:
            waits.set()
            await wait_for_event(backend)
        except BaseException:  # as some code does
            log.append("swallowed")
        try:
            yield 1
        finally:
            await backend.sleep(0.001)
            log.append("closed")

    generator = portal.drive(body())
    running = executor.submit(next, generator)
    assert waits.wait(10)
    generator.close()
    assert log == ["swallowed", "closed"]
    with pytest.raises(ClosedError):
        running.result(10)


def test_close_during_a_step_that_cannot_be_cancelled(
    portal: Portal, backend: Backend, executor: ThreadPoolExecutor
) -> None:
    """A step that waits for a worker thread ends with that, and what then becomes of the cleanup because it was
    cancelled is no error of `close()` (A17).
    """
    begun, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert goes_on.wait(20)

    async def source() -> AsyncGenerator[int]:
        try:
            await anyio.to_thread.run_sync(work)
            yield 1
        finally:
            try:
                await backend.checkpoint()
            finally:
                ended.set()

    generator = portal.drive(source())
    running = executor.submit(next, generator)
    assert begun.wait(20)
    closing = executor.submit(generator.close)
    for _ in range(100):  # more turns than it tries to cancel the step gently
        portal.run(backend.checkpoint)
    goes_on.set()
    closing.result(20)
    assert ended.is_set()
    with pytest.raises(ClosedError):
        running.result(20)


def test_close_during_a_step_with_children(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """A step that waits for its tasks is cancelled just once, however long they take: its cleanup may await (A17)."""
    begun, cleans_up, goes_on, log = threading.Event(), threading.Event(), threading.Event(), list[str]()

    async def child() -> None:
        try:
            begun.set()
            await wait_for_event(backend)
        finally:
            cleans_up.set()
            with anyio.CancelScope(shield=True):
                while not goes_on.is_set():
                    await backend.sleep(0.001)
            log.append("child")

    async def source() -> AsyncGenerator[int]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
            yield 1
        finally:
            for _ in range(3):
                await backend.sleep(0.001)
            log.append("cleaned up")

    generator = portal.drive(source())
    running = executor.submit(next, generator)
    assert begun.wait(20)
    closing = executor.submit(generator.close)
    assert cleans_up.wait(20)
    for _ in range(100):  # more turns than it tries to cancel the step gently
        portal.run(backend.checkpoint)
    goes_on.set()
    closing.result(20)
    assert log == ["child", "cleaned up"]
    with pytest.raises(ClosedError):
        running.result(20)


@pytest.mark.parametrize("then", ["yields", "waits"])
def test_close_during_a_step_in_a_thread(
    portal: Portal, backend: Backend, executor: ThreadPoolExecutor, then: str
) -> None:
    """A step that waits for a worker thread is cancelled when that lets it, once: its cleanup may await (A17)."""
    begun, goes_on, log = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        assert goes_on.wait(20)

    async def source() -> AsyncGenerator[int]:
        try:
            await anyio.to_thread.run_sync(work)
            if then == "waits":
                await wait_for_event(backend)
            yield 1
        finally:
            for _ in range(3):
                await backend.sleep(0.001)
            log.append("cleaned up")

    generator = portal.drive(source())
    running = executor.submit(next, generator)
    assert begun.wait(20)
    closing = executor.submit(generator.close)
    for _ in range(100):  # more turns than it tries to cancel the step gently
        portal.run(backend.checkpoint)
    goes_on.set()
    closing.result(20)
    assert log == ["cleaned up"]
    with pytest.raises(ClosedError):
        running.result(20)


def test_close_during_a_step_is_no_cancellation_of_trio(executor: ThreadPoolExecutor) -> None:
    """On trio the exception that breaks off a step is no trio.Cancelled, and a nursery passes it on (A17)."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    waits, seen = threading.Event(), list[BaseException]()

    async def source() -> AsyncGenerator[int]:
        try:
            async with trio.open_nursery():
                waits.set()
                await trio.sleep_forever()
        except BaseExceptionGroup as group:
            seen.extend(group.exceptions)
            raise
        yield 1

    with Portal(backend="trio") as portal:
        generator = portal.drive(source())
        running = executor.submit(next, generator)
        assert waits.wait(20)
        generator.close()
        assert isinstance(running.exception(20), ClosedError)
    assert len(seen) == 1
    assert not isinstance(seen[0], (Exception, trio.Cancelled))


def test_close_during_a_step_that_raises_later(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """A step whose wait keeps the cancellation until it has ended, as `hosted` does, is cancelled just once (A17)."""
    begun, log = threading.Event(), list[str]()

    async def inner() -> AsyncGenerator[int]:
        try:
            begun.set()
            await wait_for_event(backend)
            yield 1
        finally:
            with anyio.CancelScope(shield=True):
                await backend.sleep(0.001)
            log.append("inner")

    async def source() -> AsyncGenerator[int]:
        try:
            async with hosted(inner()) as generator:
                async for item in generator:
                    yield item
        finally:
            for _ in range(3):
                await backend.sleep(0.001)
            log.append("cleaned up")

    generator = portal.drive(source())
    running = executor.submit(next, generator)
    assert begun.wait(20)
    generator.close()
    assert log == ["inner", "cleaned up"]
    with pytest.raises(ClosedError):
        running.result(20)


def test_close_during_a_step_that_timed_out(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Who closes a generator whose step has timed out waits for its cleanup, and sees no cancellation (A11, A17)."""
    cleans_up, goes_on = threading.Event(), threading.Event()

    async def body() -> AsyncGenerator[int, None]:
        try:
            await wait_for_event(backend)
            yield 1
        finally:
            cleans_up.set()
            with anyio.CancelScope(shield=True):
                while not goes_on.is_set():
                    await backend.sleep(0.001)

    generator = portal.drive(body(), timeout=0.02)
    running = executor.submit(next, generator)
    assert cleans_up.wait(10)
    timer = threading.Timer(0.05, goes_on.set)  # when close() waits; were it later, the test would only be easier
    timer.start()
    generator.close()
    timer.join()
    assert isinstance(running.exception(10), TimeoutError)
    assert list(generator) == []


def test_close_the_portal_during_a_step(backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Closing the portal from another thread cancels the step, too, and waits for its cleanup (A16, A17)."""
    cleanup = Cleanup(backend)
    portal = backend.portal()
    running = executor.submit(next, portal.drive(cleanup.waiting()))
    assert cleanup.waits.wait(10)
    portal.close()
    assert cleanup.ended.is_set()
    with pytest.raises(ClosedError):
        running.result(10)


@pytest.mark.parametrize("starts", [True, False])
def test_close_while_the_loop_starts(executor: ThreadPoolExecutor, starts: bool) -> None:
    """`close()` while the first step of another thread waits for the loop to start waits for it, too (A17)."""
    making, goes_on = threading.Event(), threading.Event()

    def make_loop() -> asyncio.AbstractEventLoop:
        making.set()
        assert goes_on.wait(10)
        if not starts:
            raise ProbeError
        return asyncio.new_event_loop()

    portal = Portal(backend_options={"loop_factory": make_loop})
    generator = portal.drive(numbers())
    first = executor.submit(next, generator)
    assert making.wait(10)
    closing = executor.submit(generator.close)
    while not closing.running():
        assert not closing.done()
    goes_on.set()
    closing.result(10)
    exc = first.exception(10)
    assert exc is None or isinstance(exc, (ClosedError, StopIteration) if starts else ProbeError)
    portal.close()


@pytest.mark.parametrize("step", ["next", "throw"])
def test_step_while_the_portal_closes(backend: Backend, executor: ThreadPoolExecutor, step: str) -> None:
    """A step that comes while the portal closes the generator is a ClosedError, and the cleanup goes on to its end
    (A16, A17).
    """
    cleans_up, goes_on = threading.Event(), threading.Event()
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            cleans_up.set()
            while not goes_on.is_set():
                await backend.sleep(0.001)
            log.append("cleaned up")

    portal = backend.portal()
    generator = portal.drive(body())
    next(generator)
    closing = executor.submit(portal.close)
    assert cleans_up.wait(10)
    with pytest.raises(ClosedError):
        next(generator) if step == "next" else generator.throw(ProbeError())
    goes_on.set()
    closing.result(10)
    assert log == ["cleaned up"]
    assert list(generator) == []


def test_closes_race(backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Threads that step, close generators and close the portal at once all come to an end, and so do the bodies."""
    for turn in range(8):
        ended: list[int] = []

        async def body(number: int, ended: list[int] = ended) -> AsyncGenerator[int, None]:
            try:
                while True:
                    await backend.checkpoint()
                    yield number
            finally:
                await backend.checkpoint()
                ended.append(number)

        portal = backend.portal()
        generators = [portal.drive(body(number), prefetch=number % 3) for number in range(6)]
        for generator in generators:
            next(generator)

        def step(generator: Any) -> None:
            try:
                for _ in range(30):
                    next(generator)
            except (ClosedError, StopIteration, ValueError):
                return

        def close(thing: Any) -> None:
            try:
                thing.close()
            except ValueError:  # it is executing, and has just begun a step
                return

        futures = [executor.submit(step, generator) for generator in generators]
        futures += [executor.submit(close, generator) for generator in generators[turn % 2 :: 2]]
        futures += [executor.submit(portal.close), executor.submit(portal.close)]
        for future in futures:
            future.result(30)
        assert sorted(ended) == list(range(6))


# Dropping -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 2])
def test_break(portal: Portal, backend: Backend, prefetch: int) -> None:
    """Breaking out of a `for` loop runs the `finally` blocks, awaiting ones included, at once (A8)."""
    cleanup = Cleanup(backend)
    with without_collector():
        for item in portal.drive(cleanup.holding(), prefetch=prefetch):
            assert item == 1
            break
        assert cleanup.ended.is_set()


def test_dropped_in_another_thread(portal: Portal, backend: Backend, executor: ThreadPoolExecutor) -> None:
    """Dropped in any ordinary thread, a generator is closed at once, with no warning (A8, A17)."""
    cleanup = Cleanup(backend)
    generators = [portal.drive(cleanup.holding())]
    next(generators[0])
    executor.submit(generators.clear).result(10)
    assert cleanup.ended.wait(10)


def test_dropped_in_the_loops_thread(portal: Portal, backend: Backend) -> None:
    """Dropped in the loop's own thread it is closed without waiting, and a warning names the line (A8)."""
    cleanup = Cleanup(backend)
    generators = [portal.drive(cleanup.holding())]
    next(generators[0])

    async def drop() -> None:
        generators.clear()

    with pytest.warns(ResourceWarning, match=r"holding was dropped.*portal's own thread") as warned:
        portal.run(drop)
    assert warned[0].filename == __file__
    assert cleanup.ended.wait(10)


def test_dropped_inside_a_running_loop(portal: Portal, backend: Backend) -> None:
    """Dropped where another event loop runs, as in a notebook's cell, it is closed at once, with no warning (A8)."""
    cleanup = Cleanup(backend)

    async def main() -> None:
        for _ in portal.drive(cleanup.holding()):
            break
        assert cleanup.ended.is_set()

    with without_collector():
        anyio.run(main, backend="asyncio")


def test_dropped_by_the_collector(portal: Portal, backend: Backend) -> None:
    """What the cyclic collector drops may be anywhere, under any lock: it is closed without waiting (A8)."""
    lock, ended = threading.Lock(), threading.Event()

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            with lock:  # held by the thread in which the collector runs
                ended.set()

    with without_collector():
        cycle: list[Any] = [portal.drive(body())]
        next(cycle[0])
        cycle.append(cycle)
        del cycle
        with lock, pytest.warns(ResourceWarning, match="garbage collector"):
            gc.collect()
        assert ended.wait(10)


def test_error_of_a_dropped_generator(
    portal: Portal, backend: Backend, monkeypatch: pytest.MonkeyPatch, executor: ThreadPoolExecutor
) -> None:
    """What the cleanup of a dropped generator raises goes to sys.unraisablehook, wherever it was dropped (A8)."""
    seen: list[object] = []
    reported = threading.Event()

    def hook(unraisable: Any) -> None:
        seen.append(unraisable.exc_value)
        reported.set()

    monkeypatch.setattr("sys.unraisablehook", hook)
    raised = [ProbeError(), ProbeError()]

    async def body(error: ProbeError) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await backend.checkpoint()
            raise error

    with without_collector(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        generators = [portal.drive(body(raised[0]))]
        next(generators[0])
        generators.clear()
        assert reported.wait(10)
        reported.clear()
        generators = [portal.drive(body(raised[1]))]
        next(generators[0])

        async def drop() -> None:
            generators.clear()

        portal.run(drop)
        assert reported.wait(10)
    assert seen == raised


def test_unclosed_portal(backend: Backend) -> None:
    """A portal that is dropped open is a ResourceWarning; it closes what is open, and its thread ends (A8, A16)."""
    cleanup = Cleanup(backend)
    with without_collector():
        portals = [backend.portal()]
        generator = portals[0].drive(cleanup.holding())
        next(generator)
        name = f"asyncgen_tools {backend.name}"
        thread = next(thread for thread in threading.enumerate() if thread.name == name)
        with pytest.warns(ResourceWarning, match=r"unclosed <Portal backend=.*, open>") as warned:
            portals.clear()
        assert [warning.filename for warning in warned] == [__file__]
        assert cleanup.ended.wait(10)
        thread.join(10)
        assert not thread.is_alive()
        with pytest.raises(ClosedError):
            next(generator)


def test_portal_dropped_before_use(backend: Backend) -> None:
    """A portal that is dropped before its first use starts no thread for its generators, which nobody would end."""
    generator = backend.portal().drive(numbers())
    threads = threading.active_count()
    with pytest.raises(ClosedError, match="dropped"):
        next(generator)
    assert threading.active_count() <= threads  # idle ones of other tests may have ended


def test_crash_of_the_loop(executor: ThreadPoolExecutor) -> None:
    """A callback that takes the loop down ends every wait, and later uses are a ClosedError that says why (A14)."""
    portal = Portal()
    cleanup = Cleanup(BACKENDS[0])
    parked = portal.drive(numbers())
    next(parked)
    running = executor.submit(next, portal.drive(cleanup.waiting()))
    assert cleanup.waits.wait(10)

    def crash() -> None:
        raise SystemExit(3)

    async def prepare() -> None:
        asyncio.get_running_loop().call_soon(crash)
        await wait_for_event(BACKENDS[0])

    assert isinstance(caught(portal.run, prepare), (asyncio.CancelledError, ClosedError))
    assert isinstance(running.exception(10), (asyncio.CancelledError, ClosedError))
    with pytest.raises(SystemExit):
        portal.close()
    with pytest.raises(ClosedError) as closed:
        portal.run(prepare)
    assert isinstance(closed.value.__cause__, SystemExit)
    assert list(parked) == []
