"""Runner.run, Runner.close and wrap_async_context_manager (SEMANTICS A16); drive's and Runner's options.

What driven makes is in test_runner_driven.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import sys
import threading
import warnings
import weakref
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
import pytest

from asyncgen_tools import Runner, drive
from asyncgen_tools.errors import ClosedError, SourceTypeError, UnknownBackendError
from tests.scopes import cancelling, current_task, task_group
from tests.ways import (
    ProbeError,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    caught,
    frames_of,
    numbers,
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
    without_collector,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from types import TracebackType

    from tests.conftest import Backend
    from tests.ways import Way

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


# run ------------------------------------------------------------------------------------------------------------------


def test_run_calls_with_arguments(way: Way) -> None:
    """`run(function, *args)` awaits the call and gives its result, the same object (A16)."""

    async def pair(left: object, right: object = None) -> tuple[object, object]:
        await way.pause()
        return (left, right)

    with way.runner() as runner:
        assert runner.run(pair, 1) == (1, None)
        assert runner.run(pair, 1, 2) == (1, 2)
        assert runner.run(functools.partial(pair, right=3), 1) == (1, 3)


@pytest.mark.parametrize("result", [None, 0, (), StopIteration(1), StopAsyncIteration(1), ProbeError(), [1]], ids=repr)
def test_run_gives_any_result(way: Way, result: object) -> None:
    """A result is a result: an exception that is returned is not raised, a tuple not unpacked (A16)."""

    async def give() -> object:
        await way.pause()
        return result

    with way.runner() as runner:
        assert runner.run(give) is result


def test_run_takes_anything_that_gives_an_awaitable(anywhere: Way) -> None:
    """Bound methods, builtins and lambdas will do; what gives nothing that can be awaited is a TypeError (A16)."""

    class Callables:
        async def __call__(self, number: int) -> int:
            return number + 1

        async def method(self) -> str:
            return "method"

    with anywhere.runner() as runner:
        assert runner.run(Callables(), 1) == 2
        assert runner.run(Callables().method) == "method"
        source = numbers()
        assert runner.run(lambda: source.asend(None)) == 1
        assert runner.run(anext, source) == 2
        assert runner.run(anext, source, "default") == "default"
        with pytest.raises(TypeError, match="await"):
            runner.run(int)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            runner.run(42)  # type: ignore[arg-type]


def test_run_anext_to_the_end(way: Way) -> None:
    """StopAsyncIteration comes through `run(anext, agen)` as itself, the same object with its value (A16)."""
    raised = StopAsyncIteration("value")

    async def stop() -> None:
        await way.pause()
        raise raised

    with way.runner() as runner:
        source = numbers()
        assert [runner.run(anext, source), runner.run(anext, source)] == [1, 2]
        with pytest.raises(StopAsyncIteration):
            runner.run(anext, source)
        assert caught(runner.run, stop) is raised
        assert runner.run(anext, source, None) is None


@pytest.mark.parametrize(
    "make",
    [
        ProbeError,
        asyncio.CancelledError,
        KeyboardInterrupt,
        GeneratorExit,
        functools.partial(SystemExit, 3),
        functools.partial(ExceptionGroup, "group", [ProbeError()]),
        functools.partial(BaseExceptionGroup, "exits", [GeneratorExit()]),
    ],
    ids=repr,
)
def test_run_raises_what_the_function_raises(way: Way, make: Callable[[], BaseException]) -> None:
    """An error comes out as the same object, whatever it is, and the runner is usable afterwards (A9, A16)."""
    raised = make()

    async def fail() -> None:
        await way.pause()
        raise raised

    with way.runner() as runner:
        exc = caught(runner.run, fail)
        assert exc is raised
        assert exc.__cause__ is None
        assert exc.__context__ is None
        assert list(runner.drive(numbers())) == [1, 2]


def test_run_with_stop_iteration(way: Way) -> None:
    """A coroutine that raises StopIteration is the interpreter's RuntimeError (A9)."""

    async def fail() -> None:
        await way.pause()
        raise StopIteration

    with way.runner() as runner, pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        runner.run(fail)


def test_run_shows_a_short_traceback(way: Way) -> None:
    """The traceback is the caller's frame, at most two of the library's, then the function's (A9)."""

    async def fail() -> None:
        await way.pause()
        raise ProbeError

    with way.runner() as runner:
        names = frames_of(caught(lambda: runner.run(fail)))
    assert names[0] == "<lambda>"
    assert names.count("(ours)") <= 2
    assert names[-1] == "fail"


@pytest.mark.parametrize("kind", [ProbeError, StopAsyncIteration])
def test_run_keeps_no_error_alive(way: Way, kind: type[Exception]) -> None:
    """An error that came out of `run` dies with its last reference (A9)."""

    class WatchedError(kind):  # type: ignore[misc, valid-type]
        """Weak references can watch it."""

    errors: list[weakref.ref[Any]] = []

    async def fail() -> None:
        await way.pause()
        error = WatchedError()
        errors.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    with way.runner() as runner, without_collector():
        with suppress(WatchedError):
            runner.run(fail)
        assert errors[0]() is None


def test_run_uses_a_fresh_task_and_context(backend: Backend) -> None:
    """Each call has a task of its own, and a copy of the caller's context: nothing leaks either way (A5, A16)."""
    tasks: list[object] = []

    async def call() -> str:
        tasks.append(current_task(backend))
        before = VARIABLE.get()
        VARIABLE.set("set by the call")
        await backend.checkpoint()
        tasks.append(current_task(backend))
        return before

    with backend.runner() as runner:
        assert [runner.run(call), runner.run(call)] == ["unset", "unset"]
    assert VARIABLE.get() == "unset"
    assert tasks[0] is tasks[1]
    assert tasks[2] is tasks[3]
    assert tasks[0] is not tasks[2]


def test_run_leaves_no_cancellation_behind(backend: Backend) -> None:
    """Scopes, timeouts and task groups inside of a call work, and the next call is not affected (A16)."""

    async def call() -> int:
        with pytest.raises(TimeoutError), anyio.fail_after(0.01):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            await backend.checkpoint()
            group.cancel_scope.cancel()
        await backend.checkpoint()
        return cancelling(backend)

    with backend.runner() as runner:
        assert [runner.run(call), runner.run(call)] == [0, 0]


async def coroutine_function(_number: int = 0) -> None:
    """Nothing."""


async def number_of(number: int) -> int:
    """The number."""
    return number


def test_run_of_a_coroutine(anywhere: Way) -> None:
    """A coroutine given by mistake is a TypeError that says what to write; it is closed, and nothing warns (A16)."""
    coroutine: Any = coroutine_function(1)
    with anywhere.runner() as runner:
        with pytest.raises(SourceTypeError, match=r"runner\.run\(coroutine_function, \.\.\.\)"):
            runner.run(coroutine)
        assert coroutine.cr_frame is None
        assert runner.run(number_of, 1) == 1


def test_run_lets_parked_generators_be(backend: Backend) -> None:
    """Calls between two steps of a generator run in the same loop; what both await can meet (A16)."""

    async def body(event: anyio.Event) -> AsyncGenerator[str, None]:
        yield "waiting"
        await event.wait()
        yield "met"

    async def make_event() -> anyio.Event:
        return anyio.Event()

    async def set_event(event: anyio.Event) -> None:
        event.set()

    with backend.runner() as runner:
        event = runner.run(make_event)
        generator = runner.drive(body(event))
        assert next(generator) == "waiting"
        runner.run(set_event, event)
        assert list(generator) == ["met"]


# wrap_async_context_manager -------------------------------------------------------------------------------------------


class Manager:
    """An async context manager that notes how it is used."""

    def __init__(self, way: Way, *, suppresses: object = False, fails: BaseException | None = None) -> None:
        self.way, self.suppresses, self.fails = way, suppresses, fails
        self.log: list[str] = []
        self.details: tuple[object, ...] = ()

    async def __aenter__(self) -> str:
        self.log.append("enter")
        await self.way.pause()
        self.token = VARIABLE.set("entered")
        return "value"

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        self.details = (exc_type, exc, traceback)
        await self.way.pause()
        VARIABLE.reset(self.token)
        self.log.append("exit")
        if self.fails is not None:
            raise self.fails
        return self.suppresses


def test_manager_is_entered_and_exited(way: Way) -> None:
    """The block gets what `__aenter__` gives; without an exception `__aexit__` gets three Nones (A16)."""
    manager = Manager(way)
    with way.runner() as runner:
        wrapped = runner.wrap_async_context_manager(manager)
        assert manager.log == []
        with wrapped as value:
            assert value == "value"
            assert manager.log == ["enter"]
            assert VARIABLE.get() == "unset"
        assert manager.log == ["enter", "exit"]
        assert manager.details == (None, None, None)


def test_manager_in_one_task_and_context(backend: Backend) -> None:
    """A manager that holds a scope, a task group and a context variable is entered and exited in one task (A4, A16)."""
    tasks: list[object] = []
    ran: list[int] = []

    async def child() -> None:
        ran.append(1)

    @asynccontextmanager
    async def manager() -> AsyncGenerator[str]:
        tasks.append(current_task(backend))
        token = VARIABLE.set("entered")
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                await backend.checkpoint()
                yield "value"
                await backend.checkpoint()
        VARIABLE.reset(token)
        tasks.append(current_task(backend))

    with backend.runner() as runner, runner.wrap_async_context_manager(manager()) as value:
        assert value == "value"
        assert list(runner.drive(numbers())) == [1, 2]
    assert len(set(tasks)) == 1
    assert len(tasks) == 2
    assert ran == [1]
    assert VARIABLE.get() == "unset"


@pytest.mark.parametrize("kind", ["native", "anyio"])
def test_task_groups_can_be_wrapped(backend: Backend, kind: str) -> None:
    """A task group or nursery entered from synchronous code joins its children at the end of the block (A16)."""
    done: list[str] = []

    async def child() -> None:
        await backend.checkpoint()
        done.append("child")

    async def start_child(start: Any) -> None:
        start(child)

    with backend.runner() as runner, runner.wrap_async_context_manager(task_group(backend, kind)) as start:
        runner.run(start_child, start)
    assert done == ["child"]


@pytest.mark.parametrize("make", [ProbeError, KeyboardInterrupt, GeneratorExit, StopIteration, StopAsyncIteration])
def test_manager_sees_the_exception(way: Way, make: type[BaseException]) -> None:
    """`__aexit__` gets the exception of the block with its type and traceback; it goes on as the same object (A16)."""
    manager, raised = Manager(way), make()

    def block() -> None:
        with way.runner() as runner, runner.wrap_async_context_manager(manager):
            raise raised

    exc = caught(block)
    assert exc is raised
    assert exc.__context__ is None
    assert manager.details[:2] == (make, raised)
    traceback: Any = manager.details[2]
    assert traceback.tb_frame.f_code is block.__code__
    assert manager.log == ["enter", "exit"]


@pytest.mark.parametrize("suppresses", [True, 1, "yes"])
def test_manager_may_suppress(way: Way, suppresses: object) -> None:
    """If `__aexit__` gives something true, the exception ends with the block (A16)."""
    manager = Manager(way, suppresses=suppresses)
    reached: list[int] = []
    with way.runner() as runner:
        with runner.wrap_async_context_manager(manager):
            raise ProbeError
        reached.append(1)  # type: ignore[unreachable, unused-ignore]
    assert reached == [1]
    assert manager.details[0] is ProbeError


@pytest.mark.parametrize("kind", [ProbeError, StopAsyncIteration])
def test_exit_that_raises(way: Way, kind: type[Exception]) -> None:
    """What `__aexit__` raises comes out of the block, with the block's exception as its context (A9, A16)."""
    fails, raised = kind("exit"), KeyError("block")
    with way.runner() as runner:
        exc = caught(enter_and_exit, runner, Manager(way, fails=fails))
        assert exc is fails
        assert exc.__context__ is None

        fails = kind("exit")
        exc = caught(enter_and_raise, runner, Manager(way, fails=fails), raised)
        assert exc is fails
        assert exc.__context__ is raised


def enter_and_exit(runner: Runner, manager: AbstractAsyncContextManager[Any]) -> None:
    """A block that does nothing."""
    with runner.wrap_async_context_manager(manager):
        pass


def enter_and_raise(runner: Runner, manager: AbstractAsyncContextManager[Any], exc: BaseException) -> None:
    """A block that raises."""
    with runner.wrap_async_context_manager(manager):
        raise exc


@pytest.mark.parametrize("kind", [ProbeError, StopAsyncIteration])
def test_enter_that_raises(way: Way, kind: type[Exception]) -> None:
    """What `__aenter__` raises comes out of the `with`; the manager is not exited, the runner goes on (A16)."""
    raised = kind()
    exited: list[int] = []

    class Broken:
        async def __aenter__(self) -> None:
            await way.pause()
            raise raised

        async def __aexit__(self, *details: object) -> None:
            exited.append(1)

    with way.runner() as runner:
        assert caught(enter_and_exit, runner, Broken()) is raised
        assert exited == []
        assert list(runner.drive(numbers())) == [1, 2]


def test_generator_based_managers(way: Way) -> None:
    """`@asynccontextmanager` sees the exception at its yield, may replace it, or swallow it (A16)."""

    @asynccontextmanager
    async def translating() -> AsyncGenerator[None]:
        try:
            yield
        except KeyError as exc:
            await way.pause()
            raise ProbeError from exc
        except ValueError:
            await way.pause()

    with way.runner() as runner:
        exc = caught(enter_and_raise, runner, translating(), KeyError())
        assert type(exc) is ProbeError
        assert type(exc.__cause__) is KeyError
        enter_and_raise(runner, translating(), ValueError())
        raised = LookupError()
        assert caught(enter_and_raise, runner, translating(), raised) is raised


def test_manager_entered_twice(way: Way) -> None:
    """A wrapped manager is entered once: a second time is a clear RuntimeError, the first is exited as usual (A16)."""
    manager = Manager(way)
    with way.runner() as runner:
        wrapped = runner.wrap_async_context_manager(manager)
        with wrapped, pytest.raises(RuntimeError, match="entered"), wrapped:
            pass
        assert manager.log == ["enter", "exit"]
        assert manager.details == (None, None, None)
        with pytest.raises(RuntimeError, match="entered"), wrapped:
            pass
    assert manager.log == ["enter", "exit"]


def test_manager_never_entered(anywhere: Way) -> None:
    """A manager that is wrapped and never entered is left alone, without a warning (A16)."""
    manager = Manager(anywhere)
    with anywhere.runner() as runner:
        wrapped = runner.wrap_async_context_manager(manager)
        assert hasattr(wrapped, "__enter__")
    assert manager.log == []


def test_what_is_no_manager(anywhere: Way) -> None:
    """What is no async context manager is a TypeError that says what was given, with a hint for a sync one (A16)."""

    @asynccontextmanager
    async def manager() -> AsyncGenerator[None]:
        yield

    with anywhere.runner() as runner:
        not_called: Any = manager
        with pytest.raises(SourceTypeError, match="not called"):
            runner.wrap_async_context_manager(not_called)
        sync: Any = ExitStack()
        with pytest.raises(SourceTypeError, match="plain `with`"):
            runner.wrap_async_context_manager(sync)
        half: Any = type("Half", (), {"__aenter__": None})()
        others: list[tuple[Any, str]] = [(42, "42 of type int"), (half, "of type Half")]
        for other, what in others:
            with pytest.raises(SourceTypeError, match=what):
                runner.wrap_async_context_manager(other)


def test_managers_nest(way: Way) -> None:
    """Managers of one runner nest, interleave with generators, and go onto an ExitStack (A16)."""
    first, second = Manager(way), Manager(way)
    with way.runner() as runner, ExitStack() as stack:
        assert stack.enter_context(runner.wrap_async_context_manager(first)) == "value"
        generator = runner.drive(numbers())
        assert next(generator) == 1
        assert stack.enter_context(runner.wrap_async_context_manager(second)) == "value"
        assert next(generator) == 2
        log: list[str] = []
        first.log = second.log = log
        stack.close()
        assert log == ["exit", "exit"]
        assert next(generator, None) is None


# close ----------------------------------------------------------------------------------------------------------------


def test_close_ends_what_is_open(way: Way) -> None:
    """Closing ends open generators and managers, the last opened first, awaiting their cleanup (A16)."""
    log: list[str] = []

    async def body(name: str) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            log.append(name)

    @asynccontextmanager
    async def manager(name: str) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await way.pause()
            log.append(name)

    runner = way.runner()
    kept: list[Any] = []
    for number in range(3):
        generator = runner.drive(body(f"generator {number}"))
        next(generator)
        wrapped = runner.wrap_async_context_manager(manager(f"manager {number}"))
        wrapped.__enter__()
        kept += [generator, wrapped]
    unstarted = runner.drive(body("unstarted"))
    runner.close()
    assert log == [f"{kind} {number}" for number in (2, 1, 0) for kind in ("manager", "generator")]
    for generator in kept[::2]:
        assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED
        assert list(generator) == []
        generator.close()
    for wrapped in kept[1::2]:
        assert wrapped.__exit__(None, None, None) is False
    with pytest.raises(ClosedError):
        next(unstarted)
    assert len(log) == 6


def test_with_runner_closes_when_the_block_raises(way: Way) -> None:
    """The `with` block lets its exception through, after everything was closed (A16)."""
    log: list[str] = []
    raised = ProbeError()

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            log.append("cleaned")

    def block() -> None:
        with way.runner() as runner:
            generator = runner.drive(body())
            next(generator)
            raise raised

    assert caught(block) is raised
    assert log == ["cleaned"]


def test_managers_are_exited_by_close(way: Way) -> None:
    """A manager that is still entered when the runner closes is exited with GeneratorExit, once; the block that ends
    later finds it exited, and its exception passes (A16).
    """
    manager, raised = Manager(way), ProbeError()
    runner = way.runner()

    def block() -> None:
        with runner.wrap_async_context_manager(manager):
            runner.close()
            assert manager.log == ["enter", "exit"]
            raise raised

    assert caught(block) is raised
    assert manager.log == ["enter", "exit"]
    assert manager.details[0] is GeneratorExit


def test_close_cancels_background_tasks(backend: Backend) -> None:
    """Tasks that are left are cancelled, and awaited until their cleanup has ended (A16)."""
    log: list[str] = []

    async def background() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await backend.checkpoint()
                await backend.checkpoint()
            log.append("cleaned")

    tasks: list[object] = []

    async def start() -> None:
        if backend.name == "trio":
            import trio

            trio.lowlevel.spawn_system_task(background)
        else:
            tasks.append(asyncio.create_task(background()))
        await backend.checkpoint()
        await backend.checkpoint()

    with backend.runner() as runner:
        runner.run(start)
        assert log == []
    assert log == ["cleaned"]


@pytest.mark.asyncgen_leaks("off")  # it leaks on purpose
def test_close_finalises_async_generators(way: Way) -> None:
    """Async generators that a call began and left open are closed at the latest by the runner's close (A7, A16)."""
    log: list[str] = []

    async def left() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            try:
                await way.pause()
            finally:  # trio cancels what waits in this cleanup
                log.append("closed")

    kept: list[Any] = []

    async def call() -> None:
        generator = left()
        kept.append(generator)
        await anext(generator)

    with way.runner() as runner:
        runner.run(call)
        assert log == []
    assert log == ["closed"]
    kept.clear()


def test_close_waits_for_the_default_executor(backend: Backend) -> None:
    """A function that runs in the default executor has ended when the runner has closed (A16)."""
    if backend.name == "trio":
        pytest.skip("asyncio's own; trio's worker threads end with their task")
    started, released = threading.Event(), threading.Event()
    log: list[str] = []
    futures: list[object] = []

    def work() -> None:
        started.set()
        released.wait(10)
        log.append("worked")

    async def start() -> None:
        futures.append(asyncio.get_running_loop().run_in_executor(None, work))

    with backend.runner() as runner:
        runner.run(start)
        assert started.wait(10)
        threading.Timer(0.02, released.set).start()
    assert log == ["worked"]


def test_close_is_idempotent(way: Way) -> None:
    """Closing twice, closing after `with`, and closing a runner that was never used do nothing more (A16)."""
    with way.runner() as runner:
        list(runner.drive(numbers()))
    runner.close()
    runner.close()
    unused = way.runner()
    unused.close()
    unused.close()
    with pytest.raises(ClosedError):
        unused.run(coroutine_function)
    with way.runner() as runner:
        runner.close()
    assert "closed" in repr(runner)


def test_use_after_close(anywhere: Way) -> None:
    """After close every use is a ClosedError that says what to do, and no coroutine is left behind (A14, A16)."""
    manager = Manager(anywhere)
    for used in (True, False):
        runner = anywhere.runner()
        if used:
            runner.run(coroutine_function)
        runner.close()
        uses: list[Callable[[], object]] = [
            lambda: runner.run(coroutine_function),  # noqa: B023  # called in this turn of the loop
            lambda: runner.drive(numbers()),  # noqa: B023
            lambda: runner.wrap_async_context_manager(manager),  # noqa: B023
            runner.__enter__,
        ]
        for use in uses:
            with pytest.raises(ClosedError, match="new Runner") as closed:
                use()
            assert isinstance(closed.value, RuntimeError)
    assert manager.log == []


def test_close_reports_an_error(way: Way) -> None:
    """What one generator's cleanup raises comes out of close as it is; the others are closed all the same (A9, A16)."""
    log: list[str] = []
    raised = ProbeError()

    async def body(error: BaseException | None) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            log.append("cleaned")
            if error is not None:
                raise error

    runner = way.runner()
    generators = [runner.drive(body(error)) for error in (None, raised, None)]
    for generator in generators:
        next(generator)
    assert caught(runner.close) is raised
    assert log == ["cleaned"] * 3
    runner.close()
    assert [list(generator) for generator in generators] == [[], [], []]


def test_close_reports_several_errors(way: Way) -> None:
    """What several generators and managers raise comes out of close as one group, in the order of closing (A16)."""
    errors = [ProbeError("generator"), KeyError("generator"), ProbeError("manager")]

    async def body(error: BaseException) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            raise error

    runner = way.runner()
    generators = [runner.drive(body(error)) for error in errors[:2]]
    for generator in generators:
        next(generator)
    wrapped = runner.wrap_async_context_manager(Manager(way, fails=errors[2]))
    wrapped.__enter__()
    exc = caught(runner.close)
    assert type(exc) is ExceptionGroup
    assert list(exc.exceptions) == [errors[2], errors[1], errors[0]]
    runner.close()


def test_close_with_an_ignored_exit(way: Way) -> None:
    """A generator that ignores GeneratorExit is a RuntimeError out of close; all are closed nevertheless (A2, A16)."""
    log: list[str] = []

    async def body(name: str) -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            await way.pause()
            log.append(name)
            if name == "ignores":
                yield 2

    runner = way.runner()
    generators = [runner.drive(body(name)) for name in ("first", "ignores", "last")]
    for generator in generators:
        next(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        runner.close()
    assert log == ["last", "ignores", "first"]
    runner.close()
    for generator in generators:
        generator.close()
        assert list(generator) == []


def test_close_after_an_exit_was_ignored_before(way: Way) -> None:
    """A generator that ignored an earlier `close()` ends with the runner at the latest (A2, A16)."""

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            await way.pause()
            yield 2

    runner = way.runner()
    generator = runner.drive(body())
    next(generator)
    with pytest.raises(RuntimeError, match="ignored"):
        generator.close()
    runner.close()
    with pytest.raises(ClosedError):
        runner.run(coroutine_function)
    assert list(generator) == []


def test_close_with_task_groups_open(backend: Backend) -> None:
    """Generators that hold task groups when the runner closes end quietly, in reverse order (A9, A16)."""
    log: list[str] = []

    async def child(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append(name)

    async def body(name: str, kind: str) -> AsyncGenerator[int, None]:
        async with task_group(backend, kind) as start:
            start(functools.partial(child, name))
            await backend.checkpoint()
            await backend.checkpoint()
            yield 1

    with backend.runner() as runner:
        generators = [runner.drive(body("first", "native")), runner.drive(body("second", "anyio"))]
        assert [next(generator) for generator in generators] == [1, 1]
    assert log == ["second", "first"]


def test_cleanup_may_use_the_loop(backend: Backend) -> None:
    """While the runner closes, cleanup may start tasks, use timeouts and worker threads (A16)."""
    log: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            with anyio.fail_after(30):
                log.append(await anyio.to_thread.run_sync(str, 1))
            async with anyio.create_task_group() as group:
                group.start_soon(backend.checkpoint)
            log.append("done")

    runner = backend.runner()
    generator = runner.drive(body())
    next(generator)
    runner.close()
    assert log == ["1", "done"]


def test_close_from_its_own_step(backend: Backend) -> None:
    """Closing the runner from inside one of its steps is a clear error; the step goes on (A14, A16)."""
    errors: list[RuntimeError] = []

    async def body(runner: Runner) -> AsyncGenerator[int, None]:
        for number in range(2):
            try:
                runner.close()
            except RuntimeError as exc:
                errors.append(exc)
            yield number
            await backend.checkpoint()

    with backend.runner() as runner:
        assert list(runner.drive(body(runner))) == [0, 1]
        assert list(runner.drive(numbers())) == [1, 2]
    assert len(errors) == 2


@pytest.mark.parametrize("action", ["always", "error"])
def test_forgotten_runner_is_closed(
    way: Way, action: Literal["always", "error"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that is dropped open warns with a ResourceWarning and closes at once, cleanup awaited; also where
    warnings are errors, which a finalizer can only report (A8, A16).
    """
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            log.append("cleaned")

    reported: list[object] = []

    def report(unraisable: sys.UnraisableHookArgs) -> None:
        reported.append(unraisable.exc_type)

    monkeypatch.setattr(sys, "unraisablehook", report)
    with without_collector(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter(action)
        runner = way.runner()
        generator = runner.drive(body())
        next(generator)
        del runner
        assert log == ["cleaned"]
    assert [warning.category for warning in warned] + reported == [ResourceWarning]
    generator.close()


# options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Runner, functools.partial(drive, numbers())], ids=["Runner", "drive"])
def test_unknown_backend(make: Callable[..., object]) -> None:
    """A backend that does not exist is an error at once, which names the ones that do (A14)."""
    with pytest.raises(UnknownBackendError, match="'asyncio', 'trio' or 'bare'") as unknown:
        make(backend="curio")
    assert "curio" in str(unknown.value)
    assert isinstance(unknown.value, LookupError)


def test_unknown_option(anywhere: Way) -> None:
    """An option that the backend does not have is a TypeError at once, which names those that it has (A14)."""
    backend: Any = anywhere.backend
    for make in (Runner, functools.partial(drive, numbers())):
        with pytest.raises(TypeError, match="no option 'nonsense'"):
            make(backend=backend.name, backend_options={"nonsense": 1})


def test_asyncio_options() -> None:
    """`debug` and `loop_factory` reach the event loop of every step (A5)."""
    loops: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        loops.append(asyncio.SelectorEventLoop())
        return loops[-1]

    async def body() -> AsyncGenerator[object, None]:
        loop = asyncio.get_running_loop()
        yield loop
        await asyncio.sleep(0)
        yield loop.get_debug()

    generator = drive(body(), backend_options={"loop_factory": factory, "debug": True})
    assert loops == []
    assert next(generator) is loops[0]
    assert next(generator) is True
    assert list(generator) == []
    assert loops[0].is_closed()
    assert len(loops) == 1


def test_uvloop_option(backend: Backend) -> None:
    """`use_uvloop` gives uvloop's loop, and without it asyncio's own (A14)."""
    if backend.name == "trio":
        pytest.skip("asyncio's option")

    async def running() -> str:
        return type(asyncio.get_running_loop()).__module__

    with backend.runner() as runner:
        assert runner.run(running).startswith("uvloop") == (backend.id == "uvloop")


def test_trio_options() -> None:
    """`clock` and `instruments` reach trio, and so does `strict_exception_groups` (A5)."""
    trio = pytest.importorskip("trio")
    testing = pytest.importorskip("trio.testing")

    async def body() -> AsyncGenerator[float, None]:
        start = trio.current_time()
        for _ in range(3):
            await trio.sleep(1000)
            yield trio.current_time() - start

    clock = testing.MockClock(autojump_threshold=0)
    assert list(drive(body(), backend="trio", backend_options={"clock": clock})) == [1000, 2000, 3000]


def test_repr_shows_the_state(anywhere: Way) -> None:
    """A runner shows its backend, and whether it is new, open or closed."""
    runner = anywhere.runner()
    assert "not opened yet" in repr(runner)
    with runner:
        assert "open" in repr(runner)
        assert anywhere.backend.name in repr(runner)
    assert "closed" in repr(runner)


def test_generators_of_two_runners_interleave(way: Way) -> None:
    """Generators of two runners are stepped in turn, each on its own loop, in whatever order both end (A13, A16)."""

    async def body() -> AsyncGenerator[int, None]:
        for number in itertools.count():
            await way.pause()
            yield number

    with way.runner() as first, way.runner() as second:
        one, other = first.drive(body()), second.drive(body())
        assert [(next(one), next(other)) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
        first.close()
        assert next(other) == 3
        assert list(one) == []


def test_runner_in_a_generator(way: Way) -> None:
    """A runner may live in a sync generator, which ends it when it is closed (A16)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            for number in range(5):
                await way.pause()
                yield number
        finally:
            await way.pause()
            log.append("cleaned")

    def rows() -> Generator[int, None, None]:
        with way.runner() as runner, runner.wrap_async_context_manager(Manager(way)):
            yield from runner.drive(body())

    generator = rows()
    assert next(generator) == 0
    generator.close()
    assert log == ["cleaned"]
    assert list(rows()) == [0, 1, 2, 3, 4]


def test_awaitables_of_the_loop_outlive_steps(backend: Backend) -> None:
    """Locks and events made in one call serve generators and calls of the same runner (A16)."""
    lock = anyio.Lock()

    async def acquire() -> None:
        await lock.acquire()

    async def body() -> AsyncGenerator[bool, None]:
        async with lock:
            yield True
            await backend.checkpoint()
            yield True

    with backend.runner() as runner:
        assert list(runner.drive(body())) == [True, True]
        generator = runner.drive(body())
        assert next(generator)
        with pytest.raises(TimeoutError):
            runner.run(within, 0.01, acquire)
        generator.close()
        assert not lock.locked()


async def within(seconds: float, function: Callable[[], Awaitable[object]]) -> None:
    """Call with a timeout."""
    with anyio.fail_after(seconds):
        await function()
