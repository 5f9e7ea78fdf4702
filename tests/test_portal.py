"""Portal: Runner's face over an event loop in a thread of its own (SEMANTICS A17, and A1 to A16 as they apply).

Several threads are in test_portal_threads.py, the ends in test_portal_ends.py, `prefetch` in test_portal_prefetch.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from asyncgen_tools import Portal, drive
from asyncgen_tools.errors import (
    ClosedError,
    ContextError,
    ReusedError,
    RunningLoopError,
    SourceTypeError,
    StepTimeoutError,
    UnknownBackendError,
    UnsupportedStepError,
)
from tests.conftest import BRIEF
from tests.scopes import CountedLoop, cancelling, current_task, task_group
from tests.test_host_cancellation import KINDS, RAISED, WAITS, Holding, hold, turns, wait_for_event
from tests.thread_state import settled
from tests.ways import ProbeError, caught, frames_of, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from asyncgen_tools import SyncGenerator
    from tests.conftest import Backend

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture(name="portal")
def portal_fixture(backend: Backend) -> Generator[Portal]:
    """An open portal."""
    with backend.portal() as portal:
        yield portal


async def echo(backend: Backend) -> AsyncGenerator[object, object]:
    """Yield what was sent, after a suspension; an exception thrown in is yielded as well."""
    item: object = "first"
    while item != "stop":
        try:
            item = yield item
        except ProbeError as exc:
            item = exc
        await backend.checkpoint()


# Steps ----------------------------------------------------------------------------------------------------------------


def test_steps(portal: Portal, backend: Backend) -> None:
    """next, send, throw and close are the source's anext, asend, athrow and aclose (A1)."""
    generator: SyncGenerator[object, Any, Any] = portal.drive(echo(backend))
    thrown = ProbeError()
    assert next(generator) == "first"
    assert generator.send("second") == "second"
    assert generator.throw(thrown) is thrown
    assert [next(generator)] == [None]
    with pytest.raises(StopIteration) as stopped:
        generator.send("stop")
    assert stopped.value.value is None
    with pytest.raises(StopIteration):
        next(generator)
    generator.close()


def test_return_value(portal: Portal) -> None:
    """The value of StopAsyncIteration is the value of StopIteration, and so of `yield from` (A1)."""

    class Returning:
        def __aiter__(self) -> Returning:
            return self

        async def __anext__(self) -> int:
            raise StopAsyncIteration("value")

    source: Any = Returning()  # whose return value typing does not know

    def delegating() -> Generator[int, Any, object]:
        return (yield from portal.drive(source))

    with pytest.raises(StopIteration) as stopped:
        next(delegating())
    assert stopped.value.value == "value"


def test_is_lazy(portal: Portal, backend: Backend) -> None:
    """The body runs only inside a step, and never ahead, although the loop runs all the time (A6)."""
    log: list[int] = []

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            log.append(number)
            yield number

    generator = portal.drive(body())
    portal.run(turns, backend)
    assert log == []
    for number in range(3):
        assert next(generator) == number
        portal.run(turns, backend)
        assert log == list(range(number + 1))


def test_unstarted(portal: Portal) -> None:
    """`send(v)` before the first step is TypeError and costs nothing; closing then runs none of the body (A2)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, Any]:
        log.append("begun")
        yield 1

    generator = portal.drive(body())
    with pytest.raises(TypeError, match="just-started"):
        generator.send(1)
    generator.close()
    assert list(generator) == []
    thrown = portal.drive(body())
    with pytest.raises(ProbeError):
        thrown.throw(ProbeError())
    assert log == []


def test_ignored_exit(portal: Portal, backend: Backend) -> None:
    """A yield while closing is RuntimeError("generator ignored GeneratorExit"); the generator goes on (A2)."""

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            await backend.checkpoint()
            yield 2
            log.append("ended")

    log: list[str] = []
    generator = portal.drive(body())
    next(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        generator.close()
    assert list(generator) == []
    assert log == ["ended"]


def test_only_an_iterator(portal: Portal) -> None:
    """A source without asend and athrow is fine until those are needed; a refused value loses nothing (A3)."""

    class Iterator:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> int:
            self.left -= 1
            return self.left

    generator: Any = portal.drive(Iterator())
    assert next(generator) == 2
    with pytest.raises(UnsupportedStepError, match="asend"):
        generator.send(1)
    assert next(generator) == 1
    with pytest.raises(ProbeError):
        generator.throw(ProbeError())
    assert list(generator) == []


def test_what_is_no_source(portal: Portal) -> None:
    """What is not async-iterable is refused at the call; a coroutine is closed first (A3)."""

    async def coroutine() -> None:
        """Do nothing."""

    given: Any = coroutine()
    with pytest.raises(SourceTypeError, match="coroutine"):
        portal.drive(given)
    assert given.cr_frame is None
    wrong: Any = [1]
    with pytest.raises(SourceTypeError, match="sync iterable"):
        portal.drive(wrong)
    with pytest.raises(ValueError, match="prefetch=-1"):
        portal.drive(numbers(), prefetch=-1)


# One task, one context ------------------------------------------------------------------------------------------------


def test_one_task_and_context(portal: Portal, backend: Backend) -> None:
    """All steps, the close included, run in one task and one context, in the portal's thread (A4)."""
    seen: list[tuple[object, int, str]] = []

    def note() -> None:
        seen.append((current_task(backend), threading.get_ident(), VARIABLE.get()))

    async def body() -> AsyncGenerator[None, Any]:
        token = VARIABLE.set("mine")
        try:
            for _ in range(3):
                note()
                yield
                await backend.checkpoint()
        finally:
            note()
            VARIABLE.reset(token)

    generator = portal.drive(body())
    next(generator)
    next(generator)
    generator.close()
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert seen[0][1] != threading.get_ident()
    assert VARIABLE.get() == "unset"


@pytest.mark.parametrize("kind", ["native", "anyio"])
def test_task_groups_over_yields(portal: Portal, backend: Backend, kind: str) -> None:
    """Two generators that hold task groups over yields are stepped alternately, and closed in either order (A4)."""

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, kind) as start:
            for number in range(3):
                start(backend.checkpoint)
                yield number
            await backend.checkpoint()

    assert list(zip(portal.drive(body()), portal.drive(body()), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    first, second = portal.drive(body()), portal.drive(body())
    next(first)
    next(second)
    first.close()
    second.close()
    assert list(first) == list(second) == []


def test_background_tasks_go_on(portal: Portal, backend: Backend) -> None:
    """What the generator has started goes on while the caller does something else (A17)."""
    done = threading.Event()

    async def child() -> None:
        for _ in range(10):
            await backend.checkpoint()
        done.set()

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, "native") as start:
            start(child)
            yield 1

    generator = portal.drive(body())
    next(generator)
    assert done.wait(10)
    generator.close()


def test_context(portal: Portal, backend: Backend) -> None:
    """The context is a copy of the caller's, or the given one, and nothing leaks (A5)."""

    async def body() -> AsyncGenerator[str, None]:
        yield VARIABLE.get()
        VARIABLE.set("inside")
        await backend.checkpoint()
        yield VARIABLE.get()

    given = contextvars.copy_context()
    given.run(VARIABLE.set, "given")
    token = VARIABLE.set("caller's")
    try:
        copied = portal.drive(body())
    finally:
        VARIABLE.reset(token)
    assert list(copied) == ["caller's", "inside"]
    assert VARIABLE.get() == "unset"
    assert list(portal.drive(body(), context=given)) == ["given", "inside"]
    assert given[VARIABLE] == "inside"


@pytest.mark.parametrize("started", [True, False])
def test_context_in_use(portal: Portal, backend: Backend, started: bool) -> None:
    """A step from inside the generator's own context is a ContextError, and nothing is lost (A5, A14)."""

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            await backend.checkpoint()
            yield number

    context = contextvars.copy_context()
    generator = portal.drive(body(), context=context)
    expected = [0, 1, 2]
    if started:
        assert next(generator) == expected.pop(0)
    steps: list[Callable[[], object]] = [lambda: next(generator), generator.close]
    for step in steps:
        with pytest.raises(ContextError):
            context.run(step)
    assert list(generator) == expected


@pytest.mark.parametrize("kind", ["scope fires", "ends"])
def test_context_in_use_between_steps(portal: Portal, backend: Backend, kind: str) -> None:
    """What happens to a host between two steps does not need its context, in which the caller may work (A5, A12)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            yield 1
            await wait_for_event(backend)
        log.append("cancelled")

    async def fire() -> None:
        for scope in scopes:
            scope.cancel()
        await turns(backend)

    for _ in range(20):
        scopes: list[anyio.CancelScope] = []
        context = contextvars.copy_context()
        generator = portal.drive(body(), context=context)
        assert next(generator) == 1
        if kind == "ends":
            generator.close()
            scopes.clear()
        context.run(portal.run, fire)
        assert list(generator) == []
    assert log == ([] if kind == "ends" else ["cancelled"] * 20)


def test_context_in_use_during_a_step(portal: Portal, backend: Backend) -> None:
    """Where a source is to be resumed while somebody uses its context, it gets a ContextError, and cleans up (A5)."""
    waiting, go_on = threading.Event(), anyio.Event()
    errors: list[BaseException] = []
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            waiting.set()
            await go_on.wait()
            yield 1
        finally:
            await backend.checkpoint()
            log.append("cleaned up")

    async def resume() -> None:
        go_on.set()
        await turns(backend)

    context = contextvars.copy_context()
    generator = portal.drive(body(), context=context)
    thread = threading.Thread(target=lambda: errors.append(caught(next, generator)))
    thread.start()
    waiting.wait()
    context.run(portal.run, resume)
    thread.join()
    assert [type(error) for error in errors] == [ContextError]
    assert log == ["cleaned up"]


# Cancellation while parked --------------------------------------------------------------------------------------------


@KINDS
@WAITS
@pytest.mark.parametrize("quiet", [0, 2])
def test_fires_at_the_next_suspension(
    portal: Portal, backend: Backend, kind: str, wait: Callable[[Backend], Awaitable[None]], quiet: int
) -> None:
    """What fires while the generator is parked arrives where it next suspends, however many steps later, once; then
    the scope acts as inside a task, its requests are taken back, and the generator goes on undisturbed (A12).
    """
    holding = Holding(backend, kind, wait)
    generator = portal.drive(holding.body(quiet))
    assert next(generator) == "held"

    async def fire() -> None:
        await turns(backend)
        holding.fire()
        await turns(backend)

    portal.run(fire)
    assert [next(generator) for _ in range(quiet)] == ["quiet"] * quiet
    assert holding.cancellations == []
    assert next(generator) == "after"
    assert len(holding.cancellations) == 1
    expected = RAISED[kind]
    assert type(holding.outcome) is (type(None) if expected is None else expected)
    assert list(generator) == []
    assert holding.cancelling == [0, 0]


@KINDS
def test_cancelled_host_does_not_spin(backend: Backend, kind: str) -> None:
    """A generator whose scope has fired while it is parked costs the loop nothing until its next step (A12)."""
    counted = CountedLoop(backend)
    holding = Holding(backend, kind, wait_for_event)
    with Portal(backend=backend.name, backend_options=counted.options()) as portal:
        generator = portal.drive(holding.body())
        next(generator)

        async def fire() -> int:
            holding.fire()
            await turns(backend)
            before = counted.turns()
            await backend.sleep(0.05)
            return counted.turns() - before

        assert portal.run(fire) < 20
        assert next(generator) == "after"
        generator.close()


def test_timeout_over_a_yield(portal: Portal, backend: Backend) -> None:
    """A timeout held over a yield fires while the caller takes its time (A4, A12)."""
    pause = threading.Event()

    async def body() -> AsyncGenerator[str, None]:
        try:
            async with hold(backend, "timeout") as fire:
                fire()
                yield "held"
                await wait_for_event(backend)
        except TimeoutError:
            assert cancelling(backend) == 0
            yield "fired"

    generator = portal.drive(body())
    assert next(generator) == "held"
    pause.wait(0.02)
    assert list(generator) == ["fired"]


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raised",
    [ProbeError(), asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt(), ExceptionGroup("", [ProbeError()])],
)
@pytest.mark.parametrize("suspends", [True, False])
def test_errors_arrive_as_they_are(portal: Portal, backend: Backend, raised: BaseException, suspends: bool) -> None:
    """The same object arrives, SystemExit and KeyboardInterrupt included, and the portal stays usable (A9)."""

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        if suspends:
            await backend.checkpoint()
        raise raised

    async def fail() -> None:
        if suspends:
            await backend.checkpoint()
        raise raised

    generator = portal.drive(body())
    next(generator)
    assert caught(next, generator) is raised
    assert list(generator) == []
    assert caught(portal.run, fail) is raised
    assert list(portal.drive(numbers())) == [1, 2]


@pytest.mark.parametrize("suspends", [True, False])
@pytest.mark.parametrize("step", ["next", "throw", "close"])
def test_tracebacks(portal: Portal, backend: Backend, suspends: bool, step: str) -> None:
    """The traceback has the caller's frame, at most two of ours, and the source's (A9)."""

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            if suspends:
                await backend.checkpoint()
            raise ProbeError

    generator = portal.drive(body())
    next(generator)
    steps = {"next": lambda: next(generator), "throw": lambda: generator.throw(ValueError()), "close": generator.close}
    exc = caught(steps[step])
    names = [name for name in frames_of(exc) if name != "<lambda>"]
    assert names.count("(ours)") <= 2
    assert [name for name in names if name != "(ours)"] == ["body"]


def test_exit_of_a_task_group(portal: Portal, backend: Backend) -> None:
    """A group of GeneratorExit alone, raised because a task group was open, is a normal close (A9)."""

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, "native") as start:
            start(anyio.Event().wait)
            yield 1

    generator = portal.drive(body())
    next(generator)
    generator.close()
    assert list(generator) == []


# timeout= -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 2])
def test_timeout(backend: Backend, prefetch: int) -> None:
    """A step that takes longer than `timeout=` is cancelled, its cleanup awaited; TimeoutError ends g (A11)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await wait_for_event(backend)
        finally:
            with anyio.CancelScope(shield=True):
                await backend.checkpoint()
            log.append("cleaned up")

    with backend.steady().portal() as portal:
        generator = portal.drive(body(), timeout=BRIEF, prefetch=prefetch)
        assert next(generator) == 1
        with pytest.raises(StepTimeoutError) as timed_out:
            next(generator)
        assert isinstance(timed_out.value, TimeoutError)
        assert log == ["cleaned up"]
        assert list(generator) == []


# run, managers, close -------------------------------------------------------------------------------------------------


def test_run(portal: Portal, backend: Backend) -> None:
    """`run` awaits a call in a fresh task of the loop and gives its result (A16)."""

    async def call(left: int, right: int) -> tuple[int, object]:
        await backend.checkpoint()
        return left + right, current_task(backend)

    (first, one), (second, other) = portal.run(call, 1, 2), portal.run(call, 2, 3)
    assert (first, second) == (3, 5)
    assert one is not other
    given: Any = call(1, 2)
    with pytest.raises(SourceTypeError, match=r"portal\.run\(call, \.\.\.\)"):
        portal.run(given)


def test_manager(portal: Portal, backend: Backend) -> None:
    """An async context manager is entered and exited in one task, sees the exception and may suppress it (A16)."""
    tasks: list[object] = []

    @asynccontextmanager
    async def managed() -> AsyncGenerator[str]:
        tasks.append(current_task(backend))
        try:
            yield "value"
        except ProbeError:
            await backend.checkpoint()
        tasks.append(current_task(backend))

    manager = portal.wrap_async_context_manager(managed())
    assert manager.__enter__() == "value"
    assert manager.__exit__(ProbeError, ProbeError(), None) is True
    assert len(tasks) == 2
    assert len(set(tasks)) == 1
    with pytest.raises(ReusedError), manager:
        pass


def test_close_closes_what_is_open(backend: Backend) -> None:
    """Closing closes generators and managers, last opened first, waits for each, and reports errors (A16)."""
    log: list[str] = []
    raised = ProbeError()

    async def body(name: str) -> AsyncGenerator[str, None]:
        try:
            yield name
        finally:
            await backend.checkpoint()
            log.append(name)
            if name == "second":
                raise raised

    @asynccontextmanager
    async def managed() -> AsyncGenerator[str]:
        try:
            yield "value"
        finally:
            await backend.checkpoint()
            log.append("manager")

    portal = backend.portal()
    first, second = portal.drive(body("first")), portal.drive(body("second"))
    manager = portal.wrap_async_context_manager(managed())
    assert [next(second), next(first)] == ["second", "first"]
    with manager:
        assert caught(portal.close) is raised
    assert log == ["manager", "first", "second"]
    assert list(first) == list(second) == []
    portal.close()
    assert "closed" in repr(portal)


def test_use_after_close(backend: Backend) -> None:
    """After close every use is a ClosedError that says what to do; closing again, or one never used, is fine (A14)."""
    for used in (True, False):
        portal = backend.portal()
        if used:
            portal.run(backend.checkpoint)
        portal.close()
        portal.close()
        uses: list[Callable[[], object]] = [
            lambda: portal.run(backend.checkpoint),  # noqa: B023  # called in this turn of the loop
            lambda: portal.drive(numbers()),  # noqa: B023
            portal.__enter__,
        ]
        for use in uses:
            with pytest.raises(ClosedError, match="new Portal"):
                use()


def test_close_cancels_tasks(backend: Backend) -> None:
    """Tasks that are left are cancelled and waited for, async generators are shut down (A7, A16)."""
    if backend.name == "trio":
        pytest.skip("trio has no tasks outside of a nursery")
    log: list[str] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("cancelled")

    async def inner() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log.append("shut down")

    kept: list[object] = []

    async def begin() -> None:
        kept.append(asyncio.create_task(left()))
        kept.append(agen := inner())
        await anext(agen)
        await asyncio.sleep(0)

    with backend.portal() as portal:
        portal.run(begin)
    assert log == ["cancelled", "shut down"]


def test_options(backend: Backend) -> None:
    """Backends and options are checked at once; the thread has the name that was given (A14)."""
    with pytest.raises(UnknownBackendError, match="'bare'"):
        Portal(backend="bare")
    with pytest.raises(TypeError, match="no option 'speed'"):
        Portal(backend=backend.name, backend_options={"speed": 1})
    with backend.portal(name="rows") as portal:

        async def name() -> str:
            return threading.current_thread().name

        assert portal.run(name) == "rows"


def test_loop_that_does_not_start() -> None:
    """What keeps the loop from starting comes out of the first use; the portal is closed then (A14)."""

    def fail() -> asyncio.AbstractEventLoop:
        raise ProbeError

    portal = Portal(backend_options={"loop_factory": fail})
    with pytest.raises(ProbeError):
        portal.__enter__()
    with pytest.raises(ClosedError):
        portal.drive(numbers())
    portal.close()


# Loops ----------------------------------------------------------------------------------------------------------------


def test_inside_a_running_loop(backend: Backend) -> None:
    """It may be started, used and closed in a thread that runs a loop; `drive` there names it (A14, A17)."""

    async def main() -> list[int]:
        with pytest.raises(RunningLoopError, match="Portal"):
            next(drive(numbers(), backend=backend.name))
        with backend.portal() as portal:
            await anyio.sleep(0)
            return list(portal.drive(libraries()))

    async def libraries() -> AsyncGenerator[int, None]:
        for number in range(3):
            await anyio.sleep(0)  # asks which library runs here
            yield number

    for outer in ("asyncio", "trio") if backend.name == "trio" else ("asyncio",):
        assert anyio.run(main, backend=outer) == [0, 1, 2]
    assert settled()


def test_library_of_the_caller(backend: Backend) -> None:
    """What anyio notes in a context about the caller's own loop does not come along (A4, A5)."""
    pytest.importorskip("trio", reason="another library than the portal's is needed")
    other = "asyncio" if backend.name == "trio" else "trio"

    async def waits() -> AsyncGenerator[int, None]:
        await anyio.sleep(0)
        yield 1

    async def main() -> list[int]:
        with backend.portal() as portal:
            return list(portal.drive(waits()))

    assert anyio.run(main, backend=other) == [1]


def test_from_its_own_thread(portal: Portal, backend: Backend) -> None:
    """Every call from the loop's own thread is an error at once, instead of a deadlock, and loses nothing (A17)."""
    other = portal.drive(numbers())
    assert next(other) == 1

    async def within() -> list[type[BaseException]]:
        await backend.checkpoint()
        manager = portal.wrap_async_context_manager(asynccontextmanager(numbers_)())
        uses: list[Callable[[], object]] = [
            lambda: next(other),
            other.close,
            lambda: other.throw(ProbeError()),
            lambda: portal.run(backend.checkpoint),
            lambda: list(portal.drive(numbers())),
            manager.__enter__,
            portal.close,
            portal.__enter__,
        ]
        return [type(caught(use)) for use in uses]

    async def numbers_() -> AsyncGenerator[int]:
        yield 1

    assert set(portal.run(within)) == {RunningLoopError}
    assert list(other) == [2]


def test_reentry_from_the_body(portal: Portal) -> None:
    """A generator that steps or closes itself gets ValueError("generator already executing") (A2)."""
    generators: list[Any] = []

    async def body() -> AsyncGenerator[list[BaseException], None]:
        (generator,) = generators
        yield [caught(next, generator), caught(generator.close), caught(generator.send, 1)]

    generators.append(portal.drive(body()))
    for exc in next(generators[0]):
        assert isinstance(exc, ValueError)
        assert str(exc) == "generator already executing"
    generators.pop().close()


def test_portals_in_portals(backend: Backend) -> None:
    """Generators of several portals nest and interleave, also in a worker thread of one another (A13, A17)."""
    with backend.portal() as one, backend.portal() as other:

        async def inner() -> AsyncGenerator[int, None]:
            for number in range(3):
                await backend.checkpoint()
                yield number

        async def outer() -> AsyncGenerator[int, None]:
            for number in other.drive(inner()):
                await backend.checkpoint()
                yield number + sum(await anyio.to_thread.run_sync(lambda: list(one.drive(inner()))))

        assert list(one.drive(outer())) == [3, 4, 5]


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_many_generators(portal: Portal, backend: Backend) -> None:
    """1,000 generators are open at once, each in its own task, and none is left (A18)."""
    closed: list[int] = []

    async def body(number: int) -> AsyncGenerator[int, None]:
        try:
            while True:
                await backend.checkpoint()
                yield number
        finally:
            closed.append(number)

    generators = [portal.drive(body(number)) for number in range(1_000)]
    for _ in range(2):
        assert [next(generator) for generator in generators] == list(range(1_000))
    while generators:  # one half is closed, the other dropped
        if len(generators) % 2:
            generators[-1].close()
        del generators[-1]
    assert sorted(closed) == list(range(1_000))


def descriptors() -> int:
    """How many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="file descriptors are counted in /proc")
def test_many_portals(backend: Backend) -> None:
    """Portals that are opened, used and closed leave no thread and no file descriptor (A18)."""

    def use() -> None:
        with backend.portal() as portal:
            assert next(portal.drive(numbers())) == 1

    use()
    threads, files = threading.active_count(), descriptors()
    for _ in range(60):
        use()
    assert threading.active_count() <= threads  # idle ones of other tests may have ended
    assert descriptors() == files


def test_shared(backend: Backend) -> None:
    """`Portal.shared` gives one portal for a backend with its options, a new one if somebody has closed it."""
    portal = Portal.shared(backend.name, backend_options=backend.options)
    assert Portal.shared(backend.name, backend_options=dict(backend.options)) is portal
    assert list(portal.drive(numbers())) == [1, 2]
    portal.close()
    fresh = Portal.shared(backend.name, backend_options=backend.options)
    assert fresh is not portal
    assert list(fresh.drive(numbers())) == [1, 2]
    fresh.close()
    with suppress(UnknownBackendError):
        Portal.shared("bare")
