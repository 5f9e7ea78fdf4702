from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import hosted
from asyncgen_tools.errors import ClosedError, StepCancelledError
from tests.children import interrupt_child
from tests.conftest import BACKENDS
from tests.hosting import Tracer
from tests.running import on_every_backend, run_on, started_task
from tests.scopes import cancelling, current_task, kinds_in, task_group
from tests.ways import ProbeError, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.conftest import Backend


@on_every_backend
@pytest.mark.parametrize("kind", ["native", "anyio"])
async def test_child_fails_while_parked(backend: Backend, kind: str) -> None:
    """A task group whose child fails while the host is parked cancels the next suspension and raises (A12)."""
    failed = anyio.Event()
    caught: list[object] = []

    async def fail() -> None:
        failed.set()
        raise ProbeError

    async def source() -> AsyncGenerator[str]:
        before = cancelling(backend)
        try:
            async with task_group(backend, kind) as start:
                start(fail)
                yield "parked"
                await anyio.sleep_forever()
        except BaseExceptionGroup as group:
            caught.append(group)
            await backend.checkpoint()
            assert cancelling(backend) == before
            yield "caught"

    async with hosted(source()) as generator:
        assert await anext(generator) == "parked"
        await failed.wait()
        for _ in range(5):
            await backend.checkpoint()
        assert await anext(generator) == "caught"
        assert [kinds_in(group) for group in caught] == [{ProbeError}]
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


@on_every_backend
@pytest.mark.parametrize("kind", ["native", "anyio"])
async def test_timeout_while_parked(backend: Backend, kind: str) -> None:
    """A timeout held over a yield that runs out while the host is parked acts once, at the next suspension (A12)."""

    async def source() -> AsyncGenerator[str]:
        before = cancelling(backend)
        with suppress(TimeoutError):
            async with timeout(backend, kind, 0):
                yield "parked"
                yield "not suspended"
                await anyio.sleep_forever()
        await backend.checkpoint()
        assert cancelling(backend) == before
        yield "caught"

    async with hosted(source()) as generator:
        assert await anext(generator) == "parked"
        for _ in range(5):
            await backend.checkpoint()
        assert await anext(generator) == "not suspended"
        assert await anext(generator) == "caught"


@on_every_backend
@pytest.mark.parametrize("kind", ["native", "anyio"])
async def test_timeout_withdrawn(backend: Backend, kind: str) -> None:
    """A cancellation that arrived while parked, and whose scope is left before anything suspends, is not delivered."""

    async def source() -> AsyncGenerator[str]:
        async with timeout(backend, kind, 0, quiet=True):
            yield "parked"
        await backend.checkpoint()
        yield "went on"

    async with hosted(source()) as generator:
        assert await anext(generator) == "parked"
        for _ in range(5):
            await backend.checkpoint()
        assert await anext(generator) == "went on"


@on_every_backend
async def test_parked_under_a_cancelled_scope_is_idle(backend: Backend) -> None:
    """While the host is parked in a cancelled scope, it does not run: nothing is busily repeated (A12)."""
    turns: list[object] = []
    if backend.name == "trio":
        import trio

        class Counter(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                turns.append(task)

        trio.lowlevel.add_instrument(Counter())

    async def source() -> AsyncGenerator[int]:
        with anyio.CancelScope() as scope:
            scope.cancel()
            yield 1
            await anyio.sleep_forever()

    def waits_for(generator: Any) -> object:
        return backend.name == "trio" or generator._engine._task.host.task._fut_waiter

    async with hosted(source()) as generator:
        await anext(generator)
        for _ in range(5):
            await backend.checkpoint()
        before = waits_for(generator)
        turns.clear()
        for _ in range(5):
            await backend.checkpoint()
        assert waits_for(generator) is before
        assert before is not None
        assert set(turns) <= {current_task(backend)}
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


def timeout(backend: Backend, kind: str, seconds: float, *, quiet: bool = False) -> Any:
    """An async context manager that times out, by the library's own means or anyio's."""

    @asynccontextmanager
    async def manager() -> AsyncGenerator[None]:
        if kind == "native" and backend.name == "asyncio":
            async with asyncio.timeout(seconds):
                yield
        else:
            with anyio.move_on_after(seconds) if quiet else anyio.fail_after(seconds):
                yield

    return manager()


@on_every_backend
async def test_block_cancelled_while_parked(backend: Backend) -> None:
    """A block cancelled between steps closes the source; its cleanup runs in its host, under the same cancellation."""
    tracer = Tracer(backend, cleanup=anyio.sleep_forever)
    entered = anyio.Event()

    async def consume() -> None:
        async with hosted(tracer.items()) as generator:
            await anext(generator)
            entered.set()
            await anyio.sleep_forever()

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        await started_task(group, consume, scope)
        await entered.wait()
        scope.cancel()
    assert scope.cancelled_caught
    assert tracer.log == ["begin", "closed"]
    assert len(set(tracer.tasks)) == 1


@on_every_backend
async def test_block_cancelled_in_a_step(backend: Backend) -> None:
    """A block cancelled in a step cancels the step; its cleanup has ended when the block has."""
    tracer = Tracer(backend)

    async def consume() -> None:
        async with hosted(tracer.items()) as generator:
            await anext(generator)
            await anext(generator)

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        await started_task(group, consume, scope)
        await tracer.waiting.wait()
        scope.cancel()
    assert scope.cancelled_caught
    kind = "Cancelled" if backend.name == "trio" else "CancelledError"
    assert tracer.log == ["begin", kind, "end"]


@on_every_backend
async def test_shielded_cleanup(backend: Backend) -> None:
    """A source that shields its cleanup is waited for, in a cancelled block too."""
    cleaned = anyio.Event()

    async def cleanup() -> None:
        with anyio.CancelScope(shield=True):
            for _ in range(10):
                await backend.checkpoint()
            cleaned.set()

    tracer = Tracer(backend, cleanup=cleanup)
    with anyio.CancelScope() as scope:
        async with hosted(tracer.items()) as generator:
            await anext(generator)
            scope.deadline = anyio.current_time() + 0.01
            await anext(generator)
    assert scope.cancelled_caught
    assert cleaned.is_set()


@on_every_backend
async def test_cancelled_consumer(backend: Backend) -> None:
    """A cancelled consumer cancels the step, awaits its cleanup, and then is cancelled; the generator is finished."""
    tracer = Tracer(backend)
    async with hosted(tracer.items()) as generator, anyio.create_task_group() as group:
        await anext(generator)

        async def consume() -> None:
            try:
                await anext(generator)
            finally:
                tracer.note("consumer ends")

        scope = anyio.CancelScope()
        await started_task(group, consume, scope)
        await tracer.waiting.wait()
        scope.cancel()
        while len(tracer.log) < 4:
            await backend.checkpoint()
        kind = "Cancelled" if backend.name == "trio" else "CancelledError"
        assert tracer.log == ["begin", kind, "end", "consumer ends"]
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


@on_every_backend
async def test_deadline_of_a_consumer(backend: Backend) -> None:
    """A deadline around one step acts on the step, and the scope catches what is its own."""
    tracer = Tracer(backend)
    async with hosted(tracer.items()) as generator:
        await anext(generator)
        with anyio.move_on_after(0.01) as scope:
            await anext(generator)
        assert scope.cancelled_caught
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        await anyio.sleep(0)


@on_every_backend
async def test_shielded_step(backend: Backend) -> None:
    """A shield around a step protects it from what is outside the shield."""
    tracer = Tracer(backend)

    async def consume() -> None:
        async with hosted(tracer.items()) as generator:
            await anext(generator)
            with anyio.CancelScope(shield=True):
                assert await anext(generator) == 2
            await anyio.sleep_forever()

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        await started_task(group, consume, scope)
        await tracer.waiting.wait()
        scope.cancel()
        for _ in range(3):
            await backend.checkpoint()
        tracer.proceed.set()
    assert tracer.log == ["begin", "proceeds", "closed", "end"]


@on_every_backend
async def test_error_of_a_cancelled_step(backend: Backend) -> None:
    """What the cleanup of a cancelled step raises comes out of the step, as it would without a host."""

    async def fail() -> None:
        raise ProbeError

    tracer = Tracer(backend, cleanup=fail)
    async with hosted(tracer.items()) as generator:
        await anext(generator)
        with pytest.raises(ProbeError), anyio.move_on_after(0.01):
            await anext(generator)


@on_every_backend
async def test_error_beside_a_cancellation(backend: Backend) -> None:
    """If the cancelled step raises a group of its cancellation and an error, the error alone is left in the group."""

    async def source() -> AsyncGenerator[int]:
        yield 1
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            raise BaseExceptionGroup("both", [exc, ProbeError()]) from None

    async with hosted(source()) as generator:
        await anext(generator)
        with pytest.raises(ExceptionGroup) as caught, anyio.move_on_after(0.01):
            await anext(generator)
        assert [type(error) for error in caught.value.exceptions] == [ProbeError]


@on_every_backend
async def test_exit_beside_a_cancellation(backend: Backend) -> None:
    """A group of nothing but the step's cancellation and GeneratorExit is that cancellation, as a scope takes it."""

    async def source() -> AsyncGenerator[int]:
        yield 1
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            raise BaseExceptionGroup("both", [exc, GeneratorExit()]) from None

    async with hosted(source()) as generator:
        await anext(generator)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(generator)
        assert scope.cancelled_caught


@pytest.mark.parametrize("fails", [False, True])
def test_cancelled_natively_while_the_block_is_left(fails: bool) -> None:
    """`Task.cancel` while the end of the block waits cancels the cleanup, then the task, unless the cleanup raises
    something of its own.
    """

    async def main() -> None:
        closing = asyncio.Event()
        left: list[bool] = []

        async def source() -> AsyncGenerator[int]:
            try:
                yield 1
            finally:
                closing.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    if fails:
                        raise ProbeError

        async def consume() -> None:
            async with hosted(source()) as generator:
                await anext(generator)
            left.append(True)

        task = asyncio.create_task(consume())
        await closing.wait()
        task.cancel()
        with pytest.raises(ProbeError if fails else asyncio.CancelledError):
            await task
        assert left == []

    asyncio.run(main())


@on_every_backend
async def test_left_while_another_task_steps(backend: Backend) -> None:
    """The end of the block cancels a step that another task waits for, and that task is told by a clear error."""
    tracer = Tracer(backend)
    results: list[BaseException] = []
    cancelled_class = anyio.get_cancelled_exc_class()
    async with anyio.create_task_group() as group:
        async with hosted(tracer.items()) as generator:
            await anext(generator)

            async def consume() -> None:
                try:
                    await anext(generator)
                except BaseException as exc:
                    results.append(exc)

            group.start_soon(consume)
            await tracer.waiting.wait()
        assert tracer.log[0] == "begin"
        assert tracer.log[-1] == "end"
    assert [type(error) for error in results] == [StepCancelledError]
    assert "block was left" in str(results[0])
    assert type(results[0].__cause__) is cancelled_class


@on_every_backend
async def test_swallowed_cancellation(backend: Backend) -> None:
    """A source that answers a cancellation with an item has its way, as it would without a host."""

    async def source() -> AsyncGenerator[int]:
        yield 1
        with suppress(BaseException):
            await anyio.sleep_forever()
        yield 2

    items: list[int] = []
    async with hosted(source()) as generator:
        await anext(generator)
        with anyio.move_on_after(0.01) as scope:
            items.append(await anext(generator))
        assert scope.cancel_called
    assert items == [2]


def test_cancelled_natively() -> None:
    """`Task.cancel` cancels the step once; its message and its count stay with the consumer."""

    async def main() -> None:
        counts: list[int] = []

        async def source() -> AsyncGenerator[int]:
            yield 1
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                counts.append(1)

        async with hosted(source()) as generator:
            await anext(generator)
            task = asyncio.create_task(anext(generator))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("reason")
            with pytest.raises(asyncio.CancelledError, match="reason"):
                await task
            assert counts == [1]
            assert task.cancelling() == 1

    asyncio.run(main())


def test_swallowed_cancellation_leaves_no_trace() -> None:
    """A cancellation that the source swallows belongs to the step of its consumer: the host task counts it no more when
    that has ended, or a TaskGroup whose child fails later would cancel the source once more (Python 3.13).
    """

    async def fail() -> None:
        raise ProbeError

    async def main() -> None:
        counts: list[int] = []

        async def source() -> AsyncGenerator[int]:
            host: Any = asyncio.current_task()
            yield 1
            for _ in range(2):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            yield 2
            counts.append(host.cancelling())
            with pytest.raises(BaseExceptionGroup):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(fail())
                    await asyncio.sleep(60)
            await asyncio.sleep(0)
            yield 3

        async with hosted(source()) as generator:
            await anext(generator)
            task = asyncio.create_task(anext(generator))
            for _ in range(2):
                for _ in range(3):
                    await asyncio.sleep(0)
                task.cancel()
            assert await task == 2
            assert await anext(generator) == 3
        assert counts == [0]

    asyncio.run(main())


def test_cancelled_natively_under_a_cancelled_scope() -> None:
    """`Task.cancel` of the host's task, parked in a cancelled scope, is not lost either: the next step brings it."""

    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def source() -> AsyncGenerator[int]:
            tasks.append(current_task(BACKENDS[0]))
            with anyio.CancelScope() as scope:
                scope.cancel()
                yield 1
                await asyncio.sleep(60)
            yield 2

        async with hosted(source()) as generator:
            await anext(generator)
            for _ in range(5):
                await asyncio.sleep(0)
            tasks[0].cancel("natively")
            await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):  # out of the scope, which would keep its own to itself
                await anext(generator)

    asyncio.run(main())


def test_cancelled_when_the_item_is_there() -> None:
    """A consumer that is cancelled after its step has ended cannot take the item; so the generator ends, loudly."""

    async def main() -> None:
        closed: list[int] = []

        async def source() -> AsyncGenerator[int]:
            try:
                yield 1
                task.get_loop().call_soon(task.cancel)
                yield 2
                yield 3
            finally:
                closed.append(1)

        async with hosted(source()) as generator:

            async def consume() -> None:
                await anext(generator)
                await anext(generator)

            task = asyncio.create_task(consume())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert closed == [1]
            with pytest.raises(StopAsyncIteration):
                await anext(generator)

    for _ in range(3):
        asyncio.run(main())


@on_every_backend
@pytest.mark.parametrize("kind", ["native", "anyio"])
async def test_cancelled_anywhere(backend: Backend, kind: str) -> None:
    """Wherever a consumer is cancelled, the source is closed once, in its host, and nothing is left: each turn."""
    closed: list[Any] = []
    begun: list[Any] = []

    async def source() -> AsyncGenerator[int]:
        begun.append(current_task(backend))
        try:
            async with task_group(backend, kind) as start:
                start(anyio.sleep_forever)
                for number in range(3):
                    await backend.checkpoint()
                    yield number
        finally:
            closed.append(current_task(backend))
            await backend.checkpoint()

    async def consume() -> None:
        async with hosted(source()) as generator:
            async for _ in generator:
                await backend.checkpoint()

    for turns in range(30):
        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            for _ in range(turns):
                await backend.checkpoint()
            group.cancel_scope.cancel()
        assert closed == begun
    assert len(begun) > 25
    if backend.name != "trio":
        assert asyncio.all_tasks() == {asyncio.current_task()}


@on_every_backend
@pytest.mark.parametrize("then", ["leave", "close", "step", "cancel"])
@pytest.mark.parametrize("how", ["shielded", "swallowed"])
async def test_cancellation_ends_with_its_step(backend: Backend, how: str, then: str) -> None:
    """Once a step has given an item, a consumer's cancelled scope is no matter of later steps and of the cleanup."""
    log: list[str] = []
    waiting = anyio.Event()

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
            waiting.set()
            with anyio.CancelScope(shield=how == "shielded") as own, suppress(BaseException):
                await anyio.sleep(0.01 if how == "shielded" else 60)
            assert not own.cancel_called
            yield 2
            with anyio.CancelScope():
                await backend.checkpoint()
                yield 3
                log.append("waits")
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=then == "cancel"):
                await backend.checkpoint()
            log.append("cleaned up")

    async def consume() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(cancel, scope)
                assert await anext(generator) == 2

    async def cancel(scope: anyio.CancelScope) -> None:
        await waiting.wait()
        scope.cancel()

    async with hosted(source()) as generator:
        assert await anext(generator) == 1
        await consume()
        if then == "close":
            await generator.aclose()
        elif then != "leave":
            assert await anext(generator) == 3
        if then == "cancel":
            with anyio.move_on_after(0.01) as scope:
                await anext(generator)
            assert scope.cancelled_caught
    assert log == (["waits"] if then == "cancel" else []) + ["cleaned up"]


@on_every_backend
@pytest.mark.parametrize("step", ["anext", "asend"])
async def test_source_that_never_suspends(backend: Backend, step: str) -> None:
    """A consumer that steps a source which never suspends can be cancelled all the same."""

    async def source() -> AsyncGenerator[int, Any]:
        for number in range(1000):
            yield number
            if number == 20:
                scopes.pop().cancel()

    scopes: list[anyio.CancelScope] = []
    async with hosted(source()) as generator:
        await anext(generator)
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            while await (generator.asend(None) if step == "asend" else anext(generator)) < 500:
                pass
        assert scope.cancelled_caught


@on_every_backend
async def test_left_by_its_own_body(backend: Backend) -> None:
    """A body that leaves the block it is hosted in would wait for its own end: an error, and the generator lives on."""

    async def source() -> AsyncGenerator[int]:
        yield 1
        with pytest.raises(RuntimeError, match=r"generator is already running.*cannot wait for the end of its own"):
            await block.__aexit__(None, None, None)
        await backend.checkpoint()
        yield 2

    block = hosted(source())
    async with block as generator:
        assert [item async for item in generator] == [1, 2]


def test_close_that_was_cancelled() -> None:
    """After a cancelled close the generator is finished, also where CPython (3.11) takes it for running for ever."""

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(60)

    async def main() -> None:
        async with hosted(source()) as generator:
            await anext(generator)
            with anyio.move_on_after(0):
                await generator.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(generator)
            await generator.aclose()

    asyncio.run(main())


def test_loop_ends_in_the_block(backend: Backend) -> None:
    """A block that is never left does not keep the loop from ending: its source is closed, with a ResourceWarning."""
    tracer = Tracer(backend, cleanup=backend.checkpoint)
    blocks: list[Any] = []

    async def main() -> None:
        blocks.append(hosted(tracer.items()))
        await anext(await blocks[0].__aenter__())

    with pytest.warns(ResourceWarning, match="event loop ended inside the `async with hosted") as warned:
        run_on(backend, main)
    assert warned[0].filename == __file__
    assert tracer.log[:2] == ["begin", "closed"]
    assert len(set(tracer.tasks)) == 1


def test_loop_ends_in_the_block_with_a_cancelled_scope(backend: Backend) -> None:
    """The same when a scope that the source holds has been cancelled meanwhile."""
    closed: list[int] = []
    blocks: list[Any] = []

    async def source() -> AsyncGenerator[int]:
        try:
            with anyio.CancelScope() as scope:
                scope.cancel()
                yield 1
        finally:
            closed.append(1)

    async def main() -> None:
        blocks.append(hosted(source()))
        await anext(await blocks[0].__aenter__())
        for _ in range(5):
            await backend.checkpoint()

    with pytest.warns(ResourceWarning, match="event loop ended inside"):
        run_on(backend, main)
    assert closed == [1]


def test_loop_ends_in_the_block_where_warnings_are_errors(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left to take the warning, where it is an error, or what the cleanup raises: both are unraisable."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    blocks: list[Any] = []

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            raise ProbeError

    async def main() -> None:
        blocks.append(hosted(source()))
        await anext(await blocks[0].__aenter__())

    run_on(backend, main)
    assert [type(args.exc_value) for args in unraisable] == [ResourceWarning, ProbeError]


def test_cancelled_before_its_task_began_and_not_stepped() -> None:
    """The same if nobody waits: later steps are refused, and the block can be left."""

    async def main() -> None:
        async with hosted(numbers()) as generator:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            with pytest.raises(ClosedError):
                await anext(generator)

    asyncio.run(main())


def test_cancelled_before_its_task_began() -> None:
    """A host's task that is cancelled before it has begun keeps nobody waiting."""

    async def main() -> None:
        async with hosted(numbers()) as generator:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await anext(generator)

    asyncio.run(main())


def test_ctrl_c() -> None:
    """Ctrl-C in a step cancels it, and its cleanup has ended before KeyboardInterrupt leaves the loop."""
    for library in ("asyncio", "trio"):
        if library == "trio":
            pytest.importorskip("trio", reason="trio is not installed")
        child = interrupt_child(
            f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import anyio
from asyncgen_tools import hosted
async def source():
    try:
        yield 1
        os.write(1, b"now\\n")
        await anyio.sleep(30)
    finally:
        print("cleaned", flush=True)
async def main():
    try:
        async with hosted(source()) as generator:
            await anext(generator)
            await anext(generator)
    finally:
        print("left", flush=True)
try:
    anyio.run(main, backend={library!r})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
        )
        assert (child.status, child.out, child.err) == (0, ["cleaned", "left", "interrupted"], [])
