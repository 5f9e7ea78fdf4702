"""One call of a concurrent_map: its context, its scopes, and executors."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import operator
import sys
import threading
import weakref
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.lowlevel
import pytest

from asyncgen_tools import concurrent_map
from asyncgen_tools.calls import in_context
from asyncgen_tools.errors import FunctionTypeError
from tests.concurrency_helpers import ProbeError, Source, double, run, settle
from tests.scopes import task_group
from tests.ways import without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from asyncgen_tools.concurrency import Results
    from tests.conftest import Backend

number_var: ContextVar[int] = ContextVar("number_var", default=0)


def test_context(backend: Backend) -> None:
    """Each call sees the context of the task that entered the block, and neither the source's nor another call's."""

    async def source() -> AsyncGenerator[int, None]:
        for number in range(6):
            number_var.set(-1)
            yield number

    async def call(number: int) -> int:
        before = number_var.get()
        number_var.set(number)
        await anyio.sleep(0)
        assert number_var.get() == number
        return before

    async def main() -> None:
        number_var.set(7)
        async with concurrent_map(call, source(), limit=2) as results:
            number_var.set(8)
            assert [result async for result in results] == [7] * 6
        assert number_var.get() == 8

    run(backend, main)


def test_scopes_in_calls(backend: Backend) -> None:
    """A call may use timeouts, scopes and task groups of its own; that they fire concerns no other call."""

    async def call(number: int) -> str:
        with anyio.move_on_after(0.01 if number % 2 else 20) as scope:
            async with task_group(backend, "native") as start:
                start(partial(anyio.sleep, 0))
                if number % 2:
                    await anyio.sleep_forever()
        return "moved on" if scope.cancelled_caught else "done"

    async def main() -> None:
        async with concurrent_map(call, range(6), limit=3) as results:
            assert [result async for result in results] == ["done", "moved on"] * 3

    run(backend, main)


@asynccontextmanager
async def entered(*args: Any, **options: Any) -> AsyncGenerator[Results[Any]]:
    """concurrent_map, whatever it is given."""
    async with concurrent_map(*args, **options) as results:
        yield results


def test_function_that_is_not_async(backend: Backend) -> None:
    """A function that turns out not to be async is an error of its own, which names `executor=`."""

    async def main() -> None:
        function: Any = str
        async with entered(function, [1, 2], limit=1) as results:
            with pytest.raises(FunctionTypeError, match=r"is not async: it returned '1' of type str.*give executor="):
                await anext(results)

    run(backend, main)


def test_function_that_returns_an_awaitable(backend: Backend) -> None:
    """A function need not be a coroutine function, if what it returns can be awaited."""

    def plain(number: int) -> Awaitable[int]:
        return double(number)

    class Later:
        def __init__(self, number: int) -> None:
            self.number = number

        def __await__(self) -> Generator[Any, Any, int]:
            return double(self.number).__await__()

    async def main() -> None:
        functions: list[Any] = [Later, plain, partial(double)]
        for function in functions:
            async with entered(function, range(3), limit=2) as results:
                assert [result async for result in results] == [0, 2, 4]

    run(backend, main)


@pytest.fixture(name="pool")
def pool_fixture() -> Generator[ThreadPoolExecutor]:
    """Two threads."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize("ordered", [True, False])
def test_threads(backend: Backend, pool: ThreadPoolExecutor, ordered: bool) -> None:
    """On a pool of threads a sync function is called in the pool's threads, for a sync or an async source."""

    def call(number: int) -> tuple[int, int]:
        return 2 * number, threading.get_ident()

    async def main() -> None:
        for source in (Source(range(20)), range(20)):
            async with concurrent_map(call, source, limit=4, executor=pool, ordered=ordered) as results:
                given = [result async for result in results]
            assert sorted(number for number, _ in given) == [2 * number for number in range(20)]
            assert threading.get_ident() not in {thread for _, thread in given}
            if ordered:
                assert given == sorted(given, key=lambda pair: pair[0])

    run(backend, main)
    assert pool.submit(int).result(10) == 0  # it stays open


def test_no_library_runs_on_an_executor(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """A call on an executor knows nothing of the loop that waits for it, and may run one of its own."""
    sniffio = pytest.importorskip("sniffio", reason="sniffio comes with trio")

    def call(_: int) -> str:
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()
        return anyio.run(library, backend="asyncio")

    async def library() -> str:
        await anyio.lowlevel.checkpoint()
        return str(sniffio.current_async_library())

    async def main() -> None:
        async with concurrent_map(call, range(3), limit=1, executor=pool) as results:
            assert [item async for item in results] == ["asyncio"] * 3

    anyio.run(main, backend=backend.name)


def test_limit_on_an_executor(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """No more than `limit` calls are given to the executor at a time, if it has more threads or fewer."""

    async def main(limit: int) -> None:
        submitted, most = 0, 0
        gate = threading.Event()

        def call(number: int) -> int:
            assert gate.wait(10)
            return number

        class Counted(Executor):
            def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
                nonlocal submitted, most
                submitted += 1
                most = max(most, submitted)
                future = pool.submit(fn, *args, **kwargs)

                def ended(_: Future[Any]) -> None:
                    nonlocal submitted
                    submitted -= 1

                future.add_done_callback(ended)
                return future

        async with concurrent_map(call, range(30), limit=limit, executor=Counted()) as results:
            await settle()
            assert most == limit
            gate.set()
            assert [result async for result in results] == list(range(30))
        assert most == limit

    for limit in (1, 5):
        run(backend, partial(main, limit))


def test_context_in_threads(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """A call in a thread sees a copy of the context of the task that entered the block, and sets nothing elsewhere."""

    def call(number: int) -> int:
        before = number_var.get()
        number_var.set(number)
        return before

    async def main() -> None:
        number_var.set(7)
        async with concurrent_map(call, range(20), limit=4, executor=pool) as results:
            assert [result async for result in results] == [7] * 20

    run(backend, main)


def test_processes() -> None:
    """On a pool of processes calls run in those, with what can be pickled; an error arrives with its type."""

    async def main() -> None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            async with concurrent_map(operator.neg, range(10), limit=3, executor=pool) as results:
                assert [result async for result in results] == [-number for number in range(10)]
            async with concurrent_map(int, ["1", "one"], limit=3, executor=pool) as numbers:
                with pytest.raises(ValueError, match="'one'"):
                    assert [number async for number in numbers] == []

    anyio.run(main)


def test_interpreters_get_no_context(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """An InterpreterPoolExecutor, which is a ThreadPoolExecutor by inheritance, is given the bare function."""
    submitted: list[Any] = []

    class InterpreterPoolExecutor(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            submitted.append(fn)
            return super().submit(fn, *args, **kwargs)

    monkeypatch.setattr(concurrent.futures, "InterpreterPoolExecutor", InterpreterPoolExecutor, raising=False)

    async def main() -> None:
        with InterpreterPoolExecutor(1) as pool:
            async with concurrent_map(abs, [-1, -2], limit=3, executor=pool) as results:
                assert [result async for result in results] == [1, 2]

    run(backend, main)
    assert submitted == [abs, abs]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="Python has InterpreterPoolExecutor since 3.14")
def test_interpreters(backend: Backend) -> None:
    """On a pool of interpreters calls run in those."""

    async def main() -> None:
        pool: Any = cast("Any", concurrent.futures).InterpreterPoolExecutor(1)
        with pool:
            async with concurrent_map(abs, [-1, -2], limit=3, executor=pool) as results:
                assert [result async for result in results] == [1, 2]

    run(backend, main)


def test_early_exit_waits_for_threads(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """Leaving early cancels the calls that have not begun, and waits for those that run: no call outlives the block."""
    begun: list[int] = []
    ended: list[int] = []
    cancelled: list[Future[Any]] = []
    gate = threading.Event()

    def call(number: int) -> int:
        begun.append(number)
        if number:
            assert gate.wait(10)
        ended.append(number)
        return number

    class Watched(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = pool.submit(fn, *args, **kwargs)
            future.add_done_callback(done)
            return future

    def done(future: Future[Any]) -> None:
        if future.cancelled():
            cancelled.append(future)
            if len(cancelled) == 4:
                gate.set()

    async def main() -> None:
        async with concurrent_map(call, range(100), limit=6, executor=Watched(), ordered=False) as results:
            assert await anext(results) == 0
            while len(begun) < 3:
                await anyio.sleep(0)
            await settle()
        assert sorted(ended) == sorted(begun) == [0, 1, 2]

    run(backend, main)


def test_cancelled_from_outside_on_an_executor(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """Cancelled from outside, the block waits for the calls that run, and the scope notices."""
    running, gate = threading.Event(), threading.Event()
    ended: list[int] = []

    def call(number: int) -> int:
        running.set()
        assert gate.wait(10)
        ended.append(number)
        return number

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with concurrent_map(call, range(1), limit=6, executor=pool) as results:
                while not running.is_set():
                    await anyio.sleep(0)
                scope.cancel()
                threading.Timer(0.05, gate.set).start()
                await anext(results)
        assert scope.cancelled_caught
        assert ended == [0]

    run(backend, main)


def test_error_on_an_executor(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """The error of a call in a thread arrives as itself; a StopIteration is a RuntimeError, as PEP 479 has it."""
    error = ProbeError()

    def call(number: int) -> int:
        raise StopIteration if number else error

    async def main() -> None:
        for number in (0, 1):
            async with concurrent_map(call, [number], limit=6, executor=pool) as results:
                with pytest.raises(RuntimeError if number else ProbeError) as caught:
                    await anext(results)
                assert caught.value is error or isinstance(caught.value.__cause__, StopIteration)

    run(backend, main)


def test_error_after_cancelling(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """The error of a call that could not be cancelled any more is not lost: it is noted on the first one."""
    running, gate = threading.Event(), threading.Event()

    def call(number: int) -> int:
        if number == 0:
            assert running.wait(10)
            raise ProbeError("first")
        running.set()
        assert gate.wait(10)
        raise ProbeError("later")

    async def source() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            gate.set()

    async def main() -> None:
        async with concurrent_map(call, source(), limit=2, executor=pool) as results:
            with pytest.raises(ProbeError, match="first") as caught:
                await anext(results)
            assert caught.value.__notes__ == ["In the same concurrent_map(), while it was ending: ProbeError: later"]

    run(backend, main)


def test_executor_that_was_shut_down(backend: Backend) -> None:
    """What the executor itself raises, because it was shut down for example, comes out of the `async for`."""

    async def main() -> None:
        pool = ThreadPoolExecutor(1)
        pool.shutdown()
        async with concurrent_map(abs, [1], limit=1, executor=pool) as results:
            with pytest.raises(RuntimeError, match="after shutdown"):
                await anext(results)

    run(backend, main)


def test_executor_that_calls_at_once(backend: Backend) -> None:
    """An executor may make the call inside `submit`."""

    class Inline(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    async def main() -> None:
        async with concurrent_map(abs, range(-9, 0), limit=3, executor=Inline()) as results:
            assert [result async for result in results] == [9, 8, 7, 6, 5, 4, 3, 2, 1]

    run(backend, main)


@pytest.mark.parametrize("kind", ["function", "partial", "callable object"])
def test_async_function_on_an_executor(pool: ThreadPoolExecutor, kind: str) -> None:
    """An async function and an executor do not go together, which is said at once."""

    class Asynchronous:
        async def __call__(self, number: int) -> int:
            return number

    function: Any = {"function": double, "partial": partial(double), "callable object": Asynchronous()}[kind]
    with pytest.raises(FunctionTypeError, match=r"is an async function.*Leave executor= out"):
        concurrent_map(function, [1], limit=1, executor=pool)


def test_coroutine_from_an_executor(backend: Backend, pool: ThreadPoolExecutor) -> None:
    """A function that turns out to return coroutines is an error on an executor, and the coroutine is closed."""

    async def main() -> None:
        def plain(number: int) -> Awaitable[int]:
            return double(number)

        function: Any = plain
        async with concurrent_map(function, [1], limit=1, executor=pool) as results:
            with pytest.raises(FunctionTypeError, match=r"returned a coroutine.*Leave executor= out"):
                await anext(results)

    run(backend, main)


def test_thrown_exception_leaves_no_cycle() -> None:
    """An error that a call was cancelled with is freed by its reference count alone."""

    async def wait() -> None:
        await Suspend()

    class Suspend:
        def __await__(self) -> Generator[None]:
            yield

    with without_collector():
        stepped: Any = in_context(copy_context(), wait())
        stepped.send(None)
        error = ProbeError()
        gone = weakref.ref(error)
        with pytest.raises(ProbeError):
            stepped.throw(error)
        del error, stepped
        assert gone() is None
