from __future__ import annotations

import asyncio
import contextvars
import gc
import sqlite3
import threading
import weakref
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from asyncgen_tools import delegating, drive, in_thread, stop_value, yield_from
from asyncgen_tools.errors import NoEventLoopError, NotReturnedError, SourceTypeError, UnsupportedStepError
from tests.children import run_child
from tests.running import on_every_backend, run_on
from tests.threading_helpers import (
    PATIENCE,
    Gate,
    join_workers,
    no_thread_is_left_fixture as no_thread_is_left_fixture,  # noqa: PLC0414  # pytest finds it here
    numbers,
    worker_threads,
)
from tests.ways import ProbeError, frames_of, without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from tests.conftest import Backend

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


# Steps


@on_every_backend
async def test_items_and_return_value(backend: Backend) -> None:
    """Items arrive in order; the return value is that of StopAsyncIteration, and is kept."""
    generator = in_thread(numbers())
    with pytest.raises(NotReturnedError):
        _ = generator.return_value
    assert [item async for item in generator] == [0, 1, 2]
    assert generator.return_value == "done"
    generator = in_thread(numbers(0))
    with pytest.raises(StopAsyncIteration) as stop:
        await anext(generator)
    assert stop_value(stop.value) == "done"
    with pytest.raises(StopAsyncIteration) as stop:
        await anext(generator)
    assert stop_value(stop.value) is None
    assert generator.return_value == "done"


@on_every_backend
async def test_sources(backend: Backend) -> None:
    """A generator, an iterable, a function that makes either, and a class that is iterated once called, all work."""

    class Items(list[int]):
        """A class whose instances are iterable."""

    assert [item async for item in in_thread(numbers())] == [0, 1, 2]
    assert [item async for item in in_thread([1, 2])] == [1, 2]
    assert [item async for item in in_thread(numbers)] == [0, 1, 2]
    assert [item async for item in in_thread(lambda: [1, 2])] == [1, 2]
    assert [item async for item in in_thread(Items)] == []


@on_every_backend
async def test_lock_step(backend: Backend) -> None:
    """The body runs only inside a step, and never ahead (A6)."""
    log: list[int] = []

    def source() -> Generator[int]:
        for number in range(3):
            log.append(number)
            yield number

    async with in_thread(source()) as generator:
        assert log == []
        await anext(generator)
        assert log == [0]
        await backend.checkpoint()
        assert log == [0]


@on_every_backend
async def test_one_thread_one_context(backend: Backend) -> None:
    """All steps and the close run in one thread, which is no other's, and in one copy of the caller's context."""
    seen: list[tuple[int, str]] = []

    def source() -> Generator[int]:
        token = variable.set("generator's")
        try:
            while True:
                seen.append((threading.get_ident(), variable.get()))
                yield 1
        finally:
            seen.append((threading.get_ident(), variable.get()))
            variable.reset(token)
            seen.append((threading.get_ident(), variable.get()))

    variable.set("caller's")
    async with in_thread(source) as generator, in_thread(source) as other:
        variable.set("changed")
        await anext(generator)
        await anext(other)
        await anext(generator)
    assert variable.get() == "changed"
    mine = [entry for entry in seen if entry[0] == seen[0][0]]
    assert [name for _, name in mine] == ["generator's"] * 3 + ["caller's"]
    assert len({ident for ident, _ in seen} - {threading.get_ident()}) == 2


def test_no_library_runs_there(backend: Backend) -> None:
    """The thread knows nothing of the loop that waits for it: one of its own may run there, as in anyio's threads."""
    sniffio = pytest.importorskip("sniffio", reason="sniffio comes with trio")

    def body() -> Generator[str]:
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()
        yield anyio.run(library, backend="asyncio")
        yield from drive(libraries())

    async def library() -> str:
        await anyio.lowlevel.checkpoint()
        return str(sniffio.current_async_library())

    async def libraries() -> AsyncGenerator[str]:
        yield await library()

    async def main() -> None:
        async with in_thread(body()) as generator:
            assert [item async for item in generator] == ["asyncio", "asyncio"]
        assert sniffio.current_async_library() == backend.name

    anyio.run(main, backend=backend.name)


@on_every_backend
async def test_thread_locals_and_sqlite(backend: Backend) -> None:
    """A connection that belongs to its thread, a cursor held over yields, and thread-local state work."""
    local = threading.local()

    def rows() -> Generator[int]:
        local.name = "mine"
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute("create table t (n integer)")
            connection.executemany("insert into t values (?)", [(n,) for n in range(10)])
            for (number,) in connection.execute("select n from t order by n"):
                assert local.name == "mine"
                yield number
        finally:
            connection.close()

    async with in_thread(rows) as generator:
        assert await anext(generator) == 0
        assert [item async for item in generator] == list(range(1, 10))


@on_every_backend
async def test_send_and_throw(backend: Backend) -> None:
    """`asend` is `send`, `athrow` is `throw` with the same object, and what is caught there is caught."""

    def echo() -> Generator[Any, Any, None]:
        received: Any = None
        while True:
            try:
                received = yield received
            except ProbeError as error:
                received = error

    async with in_thread(echo()) as generator:
        assert await anext(generator) is None
        assert await generator.asend(5) == 5
        assert await generator.asend(None) is None
        error = ProbeError()
        assert await generator.athrow(error) is error
        assert isinstance(await generator.athrow(ProbeError), ProbeError)
        with pytest.raises(KeyError):
            await generator.athrow(KeyError(1))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


@on_every_backend
async def test_send_to_an_unstarted_one(backend: Backend) -> None:
    """A value cannot be sent before the first step; nothing is lost by trying."""
    async with in_thread(numbers()) as generator:
        with pytest.raises(TypeError, match="can't send non-None value to a just-started"):
            await generator.asend(1)
        assert await anext(generator) == 0


@on_every_backend
async def test_after_the_end(backend: Backend) -> None:
    """After the end: next is StopAsyncIteration, throw raises its argument, close does nothing."""
    for generator in (in_thread(numbers()), in_thread(numbers()), in_thread([1])):
        await generator.aclose()
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        error = ProbeError()
        with pytest.raises(ProbeError) as raised:
            await generator.athrow(error)
        assert raised.value is error
        assert generator.ag_frame is None


@on_every_backend
async def test_error_of_the_body(backend: Backend) -> None:
    """An error arrives as the same object, with the caller's frame, at most two of ours, and the body's."""
    error = ProbeError()

    def source() -> Generator[int]:
        yield 1
        raise error

    generator = in_thread(source())
    await anext(generator)
    with pytest.raises(ProbeError) as raised:
        await anext(generator)
    assert raised.value is error
    assert frames_of(raised.value)[1:] == ["(ours)", "(ours)", "source"]
    assert error.__context__ is None
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


@on_every_backend
async def test_exits_of_the_interpreter(backend: Backend) -> None:
    """SystemExit and KeyboardInterrupt of the body arrive in the consumer."""
    for kind in (SystemExit, KeyboardInterrupt):

        def source(kind: type[BaseException] = kind) -> Generator[int]:
            yield 1
            raise kind

        generator = in_thread(source())
        await anext(generator)
        with pytest.raises(kind):
            await anext(generator)


@on_every_backend
async def test_pep_479(backend: Backend) -> None:
    """StopIteration and StopAsyncIteration of a body are RuntimeError, and never taken for the end."""

    def source(kind: type[Exception]) -> Generator[int]:
        yield 1
        raise kind("cause")

    for kind in (StopIteration, StopAsyncIteration):
        generator = in_thread(source(kind))
        await anext(generator)
        with pytest.raises(RuntimeError, match=f"generator raised {kind.__name__}") as raised:
            await anext(generator)
        assert isinstance(raised.value.__cause__, kind)
    for kind in (StopIteration, StopAsyncIteration):
        for items in (in_thread(numbers()), in_thread([1, 2])):
            await anext(items)
            with pytest.raises(RuntimeError, match=kind.__name__):
                await items.athrow(kind("cause"))


@on_every_backend
async def test_iterators(backend: Backend) -> None:
    """An iterator that is no generator refuses values, ends when thrown into, and is closed if it can be."""
    async with in_thread(iter([1, 2])) as items:
        with pytest.raises(UnsupportedStepError, match="has no attribute 'send'"):
            await items.asend(1)  # type: ignore[arg-type]
        assert await anext(items) == 1
        with pytest.raises(AttributeError, match="'list_iterator' object has no attribute 'send'"):
            await items.asend(1)  # type: ignore[arg-type]
        assert await anext(items) == 2
    items = in_thread([1, 2])
    await anext(items)
    with pytest.raises(ProbeError):
        await items.athrow(ProbeError)
    with pytest.raises(StopAsyncIteration):
        await anext(items)

    class Closable:
        closed = 0

        def __iter__(self) -> Closable:
            return self

        def __next__(self) -> int:
            return 1

        def __len__(self) -> int:
            return 0

        def close(self) -> None:
            self.closed += 1

    source = Closable()
    async with in_thread(source) as items:
        assert [await anext(items), await anext(items)] == [1, 1]
    assert source.closed == 1


@on_every_backend
async def test_already_running(backend: Backend) -> None:
    """While a step runs, each method is refused as CPython does it, and the step is not disturbed."""
    gate = Gate()
    results: list[int] = []
    async with in_thread(gate.items()) as generator, anyio.create_task_group() as group:

        async def step() -> None:
            results.append(await anext(generator))

        group.start_soon(step)
        await anyio.to_thread.run_sync(gate.entered.acquire)
        assert generator.ag_running
        refusals = {
            "anext": lambda: anext(generator),
            "asend": lambda: generator.asend(None),
            "athrow": lambda: generator.athrow(ProbeError),
            "aclose": generator.aclose,
        }
        for name, refused in refusals.items():
            with pytest.raises(RuntimeError, match=rf"{name}\(\): asynchronous generator is already running"):
                await refused()
        gate.passes.release()
    assert results == [0]
    assert not generator.ag_running


@on_every_backend
async def test_ignored_exit(backend: Backend) -> None:
    """A generator that yields while it is closed is a RuntimeError; it can be closed again, and the thread ends."""

    def stubborn() -> Generator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = in_thread(stubborn())
    await anext(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        await generator.aclose()
    await generator.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


@on_every_backend
async def test_attributes(backend: Backend) -> None:
    """The attributes of async generators answer, as far as the source has them."""
    source: Any = numbers()
    async with in_thread(source) as generator:
        assert generator.ag_code is source.gi_code
        assert generator.ag_frame is source.gi_frame
        assert generator.ag_await is None
        assert generator.__name__ == "numbers"
        assert "numbers" in repr(generator)


# Cancellation and closing


@on_every_backend
async def test_cancelled_consumer(backend: Backend) -> None:
    """A cancelled consumer waits for the running step, then closes the generator in its thread, then is cancelled."""
    gate = Gate()
    generator = in_thread(gate.items())
    async with anyio.create_task_group() as group:

        async def step() -> None:
            try:
                await anext(generator)
            finally:
                gate.log.append("consumer ends")

        group.start_soon(step)
        await anyio.to_thread.run_sync(gate.entered.acquire)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(5):
                await anyio.sleep(0)
            assert gate.log == []
            gate.passes.release()
    name = "in_thread of Gate.items"
    assert gate.log == [f"closed in {name}", "consumer ends"]
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


def test_cancelled_natively() -> None:
    """`Task.cancel` too waits for the step and its close, however often it is called, and is counted as in any task."""
    gate = Gate()

    async def main() -> None:
        generator = in_thread(gate.items())
        task = asyncio.create_task(anext(generator))
        await asyncio.to_thread(gate.entered.acquire)
        for _ in range(3):
            task.cancel("reason")
            await asyncio.sleep(0)
        assert not task.done()
        gate.passes.release()
        with pytest.raises(asyncio.CancelledError, match="reason"):
            await task
        assert task.cancelling() == 3
        assert len(gate.log) == 1

    asyncio.run(main())


@on_every_backend
async def test_error_of_a_cancelled_step(backend: Backend) -> None:
    """What a step, or the close after it, raises is not lost to a cancellation."""
    gate = Gate()

    def failing() -> Generator[int]:
        try:
            yield from gate.items()
        finally:
            raise ProbeError

    generator = in_thread(failing())
    with pytest.raises(BaseException) as raised:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, generator)
            await anyio.to_thread.run_sync(gate.entered.acquire)
            group.cancel_scope.cancel()
            gate.passes.release()
    assert raised.group_contains(ProbeError)


@on_every_backend
async def test_scope_of_a_consumer(backend: Backend) -> None:
    """A deadline of the consumer acts: the step ends, the generator is closed, the scope catches what is its own."""
    gate = Gate()
    generator = in_thread(gate.items())
    with anyio.move_on_after(0) as scope:
        gate.passes.release()
        await anext(generator)
    assert scope.cancelled_caught
    assert len(gate.log) == 1


@on_every_backend
async def test_infinite_generator_closes(backend: Backend) -> None:
    """An infinite generator that is left early is closed before the block ends, and its thread ends."""
    closed: list[int] = []

    def forever() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.get_ident())

    async with aclosing(in_thread(forever())) as generator:
        async for _ in generator:
            break
    assert len(closed) == 1
    assert closed[0] != threading.get_ident()
    join_workers()


@on_every_backend
async def test_error_of_cleanup(backend: Backend) -> None:
    """What cleanup raises comes out of aclose()."""

    def failing() -> Generator[int]:
        try:
            yield 1
        finally:
            raise ProbeError

    with pytest.raises(ProbeError):
        async with in_thread(failing()) as generator:
            await anext(generator)


@on_every_backend
async def test_dropped(backend: Backend) -> None:
    """Dropping one without closing it is a ResourceWarning at the line that made it; its thread closes it and ends."""
    closed = threading.Event()

    def source() -> Generator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    with without_collector():
        generator = in_thread(source())
        line = source.__code__.co_firstlineno + 8
        await anext(generator)
        with pytest.warns(ResourceWarning, match=r"in_thread\(.*source\) was dropped before its end") as warned:
            del generator
    assert (warned[0].filename, warned[0].lineno) == (__file__, line)
    assert closed.wait(PATIENCE)
    join_workers()


@on_every_backend
async def test_dropped_unstarted(backend: Backend) -> None:
    """One that was never stepped, or that has ended, is dropped without a word, and had no thread."""
    with without_collector():
        generator = in_thread(numbers())
        assert worker_threads() == []
        del generator
        generator = in_thread(numbers())
        assert [item async for item in generator] == [0, 1, 2]
        del generator
    join_workers()


def test_many() -> None:
    """A hundred generators are open at once, and a thousand one after the other leave no thread (A18)."""

    async def main() -> None:
        generators = [in_thread(numbers()) for _ in range(100)]
        assert [await anext(generator) for generator in generators] == [0] * 100
        for generator in generators:
            await generator.aclose()
        for _ in range(300):
            async with in_thread(numbers()) as generator:
                await anext(generator)

    before = threading.active_count()
    asyncio.run(main())
    join_workers()
    assert threading.active_count() <= before


def test_several_loops(backend: Backend) -> None:
    """One generator may be stepped from several event loops, one after the other; the last closes it."""
    generator = in_thread(numbers())

    async def step() -> int:
        return await anext(generator)

    assert [run_on(backend, step), run_on(backend, step)] == [0, 1]
    run_on(backend, generator.aclose)


def test_loops_in_threads() -> None:
    """Generators in loops of several threads do not know one another."""
    results: list[list[int]] = []

    async def main() -> None:
        results.append([item async for item in in_thread(numbers(50))])

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [list(range(50))] * 4


# Together with the rest of the library, and memory


def test_in_a_driven_generator(backend: Backend) -> None:
    """It works in a loop that runs in slices, two interleaved, and is closed when the loop is left early."""

    async def source(prefetch: int) -> AsyncGenerator[int]:
        async with in_thread(numbers(), prefetch=prefetch) as generator:
            async for number in generator:
                yield number

    with backend.runner() as runner:
        assert list(zip(runner.drive(source(0)), runner.drive(source(2)), strict=True)) == [(0, 0), (1, 1), (2, 2)]
        for _ in runner.drive(source(0)):
            break
    join_workers()


@on_every_backend
async def test_delegation(backend: Backend) -> None:
    """A delegating generator may hand over to it, and gets its return value."""
    results: list[object] = []

    @delegating
    async def outer() -> AsyncGenerator[int]:
        results.append(await yield_from(in_thread(numbers())))
        yield 3

    assert [item async for item in outer()] == [0, 1, 2, 3]
    assert results == ["done"]


@on_every_backend
@pytest.mark.parametrize("prefetch", [0, 2])
async def test_cancelled_anywhere(backend: Backend, prefetch: int) -> None:
    """Wherever a consumer is cancelled, the generator is closed once and its thread ends (every turn is tried)."""
    log: list[str] = []

    def source() -> Generator[int]:
        log.append("begun")
        try:
            yield from range(5)
        finally:
            log.append("closed")

    async def consume() -> None:
        async with in_thread(source(), prefetch=prefetch) as generator:
            async for _ in generator:
                await backend.checkpoint()

    for turns in range(20):
        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            for _ in range(turns):
                await backend.checkpoint()
            group.cancel_scope.cancel()
        join_workers()
        assert log.count("begun") == log.count("closed")
    assert log.count("begun") > 15


@on_every_backend
async def test_nothing_is_kept(backend: Backend) -> None:
    """An error that went through is freed when its catcher lets it go, and the source when it has ended."""

    def source(thing: object) -> Generator[int]:
        while thing is not None:
            yield 1

    async def go_through() -> list[weakref.ref[ProbeError]]:
        error, thing = ProbeError(), ProbeError()
        references = [weakref.ref(error), weakref.ref(thing)]
        generator = in_thread(source(thing))
        await anext(generator)
        with suppress(ProbeError):
            await generator.athrow(error)
        del error, thing  # or this frame would be in the traceback of what it holds
        return references

    with without_collector():
        references = await go_through()
        join_workers()
        for _ in range(3):
            await backend.checkpoint()
        assert [reference() for reference in references] == [None, None]


# Misuse, and the ends of processes


def test_refused_sources() -> None:
    """What is no source is refused at the call, saying what was given and what to write; a coroutine is closed."""

    async def coroutine() -> None: ...

    async def stream() -> Any:
        yield 1

    made: Any = coroutine()
    refused: Any
    for refused, hint in {made: "await it", stream: "iterate over it as it is", 5: "cannot be called"}.items():
        with pytest.raises(SourceTypeError, match=hint):
            in_thread(refused)
    assert made.cr_frame is None
    agen: Any = stream()
    with pytest.raises(TypeError, match="iterate over it as it is"):
        in_thread(agen)


@on_every_backend
async def test_refused_result(backend: Backend) -> None:
    """A function that gives nothing iterable is an error at the first step; a coroutine that it gives is closed."""

    async def coroutine() -> None: ...

    function: Any
    for function in (coroutine, lambda: 5):
        generator = in_thread(function)
        with pytest.raises(SourceTypeError, match=r"called it, and got .* not iterable"):
            await anext(generator)
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


def test_no_loop() -> None:
    """A step that is driven by hand is a clear error, and nothing is lost."""
    generator = in_thread(numbers())
    step = anext(generator)
    with pytest.raises(NoEventLoopError, match="no task of asyncio or trio"):
        step.send(None)
    assert asyncio.run(collect(generator)) == [0, 1, 2]


async def collect(generator: Any) -> list[Any]:
    """The items."""
    return [item async for item in generator]


def test_error_of_a_dropped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cleanup of a dropped generator raises goes to `threading.excepthook`, and the thread ends."""
    hooked: list[Any] = []

    def failing() -> Generator[int]:
        try:
            yield 1
        finally:
            raise ProbeError

    async def main() -> None:
        generator = in_thread(failing())
        await anext(generator)
        with pytest.warns(ResourceWarning), without_collector():
            del generator

    def note(args: Any) -> None:
        hooked.append(args.exc_type)

    monkeypatch.setattr(threading, "excepthook", note)
    asyncio.run(main())
    join_workers()
    gc.collect()
    assert hooked == [ProbeError]


CHILD = """
import anyio
from asyncgen_tools import in_thread
def source():
    while True:
        yield 1
"""


def test_fork() -> None:
    """In a forked child a generator begun before is refused, a new one works, and the parent's goes on."""
    child = run_child(
        CHILD
        + """
import os, signal
from asyncgen_tools.errors import ForkError
generator = in_thread(source())
async def step(): return await anext(generator)
async def new():
    async with in_thread(source()) as generator: return await anext(generator)
async def close(): await generator.aclose()
anyio.run(step)
process = os.fork()
if process == 0:
    signal.alarm(50)
    try:
        anyio.run(step)
    except ForkError as error:
        print("refused" if "begun before this process was forked" in str(error) else error)
    print(anyio.run(new), flush=True)
    generator = None
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), anyio.run(step))
anyio.run(close)
""",
        flags=["-Wignore::DeprecationWarning"],
    )
    assert (child.status, child.out, child.err) == (0, ["refused", "1", "0 1"], [])


def test_interpreter_exit_where_warnings_are_errors() -> None:
    """Where warnings are errors, each generator that is open at the exit is reported (A8)."""
    child = run_child(
        CHILD
        + """
generators = [in_thread(source()), in_thread(source())]
async def main():
    for generator in generators:
        await anext(generator)
anyio.run(main)
""",
        flags=("-Werror::ResourceWarning",),
    )
    assert (child.status, child.out) == (0, [])
    assert sum(line.startswith("ResourceWarning: in_thread(") for line in child.err) == 2


@pytest.mark.parametrize("blocked", [False, True])
def test_interpreter_exit(blocked: bool) -> None:  # a parameter
    """The interpreter exits with one open, also with one that blocks for ever in a step; a warning names it (A8)."""
    child = run_child(
        CHILD
        + f"""
import threading
def blocking():
    yield 1
    threading.Event().wait()
generator = in_thread({"blocking" if blocked else "source"}())
async def main():
    await anext(generator)
    if {blocked}:
        generator._engine.worker.submit([__import__("asyncgen_tools.steps").steps.NEXT], print)
anyio.run(main)
print("end")
""",
        flags=("-Walways",),
    )
    assert (child.status, child.out) == (0, ["end"])
    assert len(child.err) <= 2  # newer versions show the line, too
    assert "ResourceWarning: in_thread(" in child.err[0]
    assert "still open at the exit of the interpreter" in child.err[0]
