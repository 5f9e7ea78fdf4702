"""The tasks of a concurrent_map: how much is on its way, what ends when, and where errors and cancellations go."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, cast, final

import anyio
import pytest

from asyncgen_tools import concurrent_map
from asyncgen_tools.errors import StepCancelledError
from tests.concurrency_helpers import Calls, ProbeError, Source, double, run, settle
from tests.scopes import current_task, task_group

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from tests.conftest import Backend

number_var: ContextVar[int] = ContextVar("number_var", default=0)


@pytest.mark.parametrize("ordered", [True, False])
def test_limit_of_calls(backend: Backend, ordered: bool) -> None:
    """As many calls as `limit` says run at once, and never more."""

    async def main() -> None:
        calls = Calls()
        async with concurrent_map(calls, range(40), limit=7, ordered=ordered) as results:
            await settle()
            assert calls.running == 7
            calls.gate.set()
            assert sorted([result async for result in results]) == list(range(40))
        assert calls.most == 7

    run(backend, main)


@pytest.mark.parametrize("ordered", [True, False])
def test_never_more_than_limit_ahead(backend: Backend, ordered: bool) -> None:
    """However slow the consumer is, no more than `limit` items are taken that it has not had the results of."""

    async def main() -> None:
        source = Source(range(20))
        async with concurrent_map(double, source, limit=4, ordered=ordered) as results:
            for had in range(8):
                await settle()
                assert source.taken == had + 4
                await anext(results)

    run(backend, main)


@pytest.mark.parametrize("early", [True, False])
def test_source_lives_in_one_task(backend: Backend, early: bool) -> None:
    """All steps of the source, and its closing, run in one task; scopes and tokens may be held over its yields."""
    seen: list[Any] = []

    async def source() -> AsyncGenerator[int, None]:
        token = number_var.set(1)
        try:
            with anyio.fail_after(10):
                async with task_group(backend, "anyio") as start:
                    start(partial(anyio.sleep, 0))
                    for number in range(10):
                        seen.append(current_task(backend))
                        yield number
                        await anyio.sleep(0)
        finally:
            await anyio.sleep(0)
            seen.append(current_task(backend))
            number_var.reset(token)

    async def main() -> None:
        async with concurrent_map(double, source(), limit=3) as results:
            async for _ in results:
                if early:
                    break
        assert len(seen) > 1
        assert len(set(seen)) == 1
        assert seen[0] is not current_task(backend)

    run(backend, main)


def test_timeout_of_the_source_fires(backend: Backend) -> None:
    """A timeout that the source holds over its yields ends the iteration with its TimeoutError."""

    async def source() -> AsyncGenerator[int, None]:
        with anyio.fail_after(None) as scope:
            yield 1
            await settle()
            scope.deadline = anyio.current_time()
            await anyio.sleep_forever()

    async def main() -> None:
        async with concurrent_map(double, source(), limit=3) as results:
            assert await anext(results) == 2
            with pytest.raises(TimeoutError):
                await anext(results)

    run(backend, main)


@pytest.mark.parametrize("kind", ["anyio timeout", "anyio group", "native group", "asyncio timeout"])
def test_scope_of_the_source_fires_while_it_waits(backend: Backend, kind: str) -> None:
    """A timeout or task group that fires while the source waits for room reaches it at its next step, once (A12)."""
    if kind == "asyncio timeout" and backend.name == "trio":
        pytest.skip("asyncio's own")
    seen: list[str] = []
    fire: list[Callable[[], object]] = []

    @asynccontextmanager
    async def held() -> AsyncGenerator[None, None]:
        async def fail() -> None:
            event = anyio.Event()
            fire.append(event.set)
            await event.wait()
            raise ProbeError

        if kind == "anyio timeout":
            with anyio.fail_after(None) as scope:
                fire.append(lambda: setattr(scope, "deadline", anyio.current_time()))
                yield
        elif kind == "asyncio timeout":
            async with asyncio.timeout(None) as timeout:
                fire.append(lambda: timeout.reschedule(asyncio.get_running_loop().time()))
                yield
        else:
            async with task_group(backend, kind.partition(" ")[0]) as start:
                start(fail)
                yield

    async def source() -> AsyncGenerator[int, None]:
        try:
            async with held():
                for number in range(9):
                    seen.append(f"{number}")
                    yield number
                    await anyio.sleep(0)
        except (TimeoutError, ExceptionGroup):
            seen.append("fired")
        await anyio.sleep(0)
        yield 100

    async def main() -> None:
        async with concurrent_map(double, source(), limit=2) as results:
            await settle()
            fire[0]()
            await settle()
            assert seen == ["0", "1"]
            assert [result async for result in results] == [0, 2, 200]
        task = current_task(backend)
        assert backend.name == "trio" or task.cancelling() == 0

    run(backend, main)
    assert seen == ["0", "1", "fired"]


@pytest.mark.parametrize("ordered", [True, False])
def test_error_of_a_call(backend: Backend, ordered: bool) -> None:
    """The first error comes out of the `async for` as it is, after what was due; the rest is cancelled by then."""
    error = ProbeError("first")

    async def main() -> None:
        source, calls = Source(range(100)), Calls()

        async def call(number: int) -> int:
            if number == 2:
                await settle()
                raise error
            return number if number < 2 else await calls(number)

        async with concurrent_map(call, source, limit=5, ordered=ordered) as results:
            await settle()
            with pytest.raises(ProbeError) as caught:
                assert [result async for result in results] == []
            assert caught.value is error
            assert sorted(calls.cancelled) == sorted(calls.begun)
            assert {3, 4} <= set(calls.begun)
            assert source.closed
            await anyio.sleep(0)  # the body was not cancelled
            assert [result async for result in results] == []

    run(backend, main)


@pytest.mark.parametrize("ordered", [True, False])
def test_results_due_before_an_error(backend: Backend, ordered: bool) -> None:
    """What was completed, and had its turn, before the first error is given out before it."""

    async def call(number: int) -> int:
        if number == 3:
            await settle()
            raise ProbeError
        if number == 1:
            await anyio.sleep_forever()
        return number

    async def main() -> None:
        had: list[int] = []
        async with concurrent_map(call, range(4), limit=4, ordered=ordered) as results:
            with pytest.raises(ProbeError):
                async for result in results:
                    had.append(result)  # noqa: PERF401  # what was had before the error is the point
        assert had == ([0] if ordered else [0, 2])

    run(backend, main)


def test_error_leaves_the_block_as_it_is(backend: Backend) -> None:
    """An error that nobody catches passes the end of the block as itself, in no group."""
    error = ProbeError("from a call")

    async def call(number: int) -> int:
        await anyio.sleep(0)
        raise error

    async def main() -> None:
        async with concurrent_map(call, range(10), limit=5) as results:
            async for _ in results:
                pass

    with pytest.raises(ProbeError) as caught:
        run(backend, main)
    assert caught.value is error


def test_error_of_the_source(backend: Backend) -> None:
    """An error of the source cancels the calls and comes out of the `async for` as it is."""
    error = ProbeError("from the source")

    async def source() -> AsyncGenerator[int, None]:
        yield 0
        yield 1
        await settle()
        raise error

    async def main() -> None:
        calls = Calls()
        async with concurrent_map(calls, source(), limit=5) as results:
            with pytest.raises(ProbeError) as caught:
                await anext(results)
            assert caught.value is error
            assert sorted(calls.cancelled) == [0, 1]

    run(backend, main)


def test_error_of_aiter(backend: Backend) -> None:
    """An error of the source's `__aiter__` comes out of the `async for`."""

    class Broken:
        def __aiter__(self) -> AsyncGenerator[int, None]:
            raise ProbeError

    async def main() -> None:
        async with concurrent_map(double, Broken(), limit=5) as results:
            with pytest.raises(ProbeError):
                await anext(results)

    run(backend, main)


def test_error_of_the_body(backend: Backend) -> None:
    """An error of the block's body leaves as it is; calls are cancelled, and the source is closed, before it does."""

    async def main() -> None:
        source, calls = Source(range(100)), Calls()
        with pytest.raises(ProbeError) as caught:
            async with concurrent_map(calls, source, limit=3):
                await settle()
                raise ProbeError("from the body")
        assert caught.value.args == ("from the body",)
        assert not hasattr(caught.value, "__notes__")
        assert sorted(calls.cancelled) == [0, 1, 2]
        assert source.closed
        assert not source.cancelled

    run(backend, main)


def test_error_that_the_loop_did_not_come_to(backend: Backend) -> None:
    """An error that was not given out is raised at the end of the block, or noted on the body's own error."""

    async def call(number: int) -> int:
        raise ProbeError("not given out")

    async def main(*, fails: bool) -> None:
        async with concurrent_map(call, range(1), limit=3):
            await settle()
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ProbeError, match="not given out"):
        run(backend, partial(main, fails=False))
    with pytest.raises(ZeroDivisionError) as caught:
        run(backend, partial(main, fails=True))
    assert caught.value.__notes__ == ["In the same concurrent_map(), while it was ending: ProbeError: not given out"]


def test_further_errors_are_noted(backend: Backend) -> None:
    """What calls and the source raise while they are being ended is noted on the first error."""

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 0
            yield 1
            yield 2
        finally:
            raise ProbeError("closing")

    async def call(number: int) -> int:
        if number == 1:
            await settle()
            raise ProbeError("first")
        try:
            await anyio.sleep_forever()
        finally:
            raise ProbeError("cleanup")

    async def main() -> None:
        async with concurrent_map(call, source(), limit=2) as results:
            async for _ in results:
                pass

    with pytest.raises(ProbeError, match="first") as caught:
        run(backend, main)
    assert sorted(note.partition("ProbeError: ")[2] for note in caught.value.__notes__) == ["cleanup", "closing"]


def test_error_of_closing_the_source(backend: Backend) -> None:
    """After an early exit an error of the source's cleanup comes out of the block; at the end, of the `async for`."""

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 0
            yield 1
        finally:
            raise ProbeError("closing")

    async def main(*, early: bool) -> None:
        async with concurrent_map(double, source(), limit=1) as results:
            async for _ in results:
                if early:
                    return

    for early in (True, False):
        with pytest.raises(ProbeError, match="closing"):
            run(backend, partial(main, early=early))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exits_are_not_noted_away(backend: Backend, error: type[BaseException]) -> None:
    """KeyboardInterrupt or SystemExit of a call is the one that is raised, also if another error came before it."""

    async def call(number: int) -> int:
        if number == 1:
            await settle()
            raise ProbeError("first")
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    async def main() -> None:
        async with concurrent_map(call, range(2), limit=2) as results:
            with pytest.raises(error) as caught:
                await anext(results)
            assert caught.value.__notes__ == ["In the same concurrent_map(), while it was ending: ProbeError: first"]

    run(backend, main)


def test_stop_async_iteration_of_a_call(backend: Backend) -> None:
    """A StopAsyncIteration that a call raises does not end the loop unnoticed: PEP 479's RuntimeError tells of it."""

    async def call(number: int) -> int:
        raise StopAsyncIteration

    async def main() -> None:
        async with concurrent_map(call, range(2), limit=2) as results:
            with pytest.raises(RuntimeError, match="raised StopAsyncIteration") as caught:
                await anext(results)
            assert isinstance(caught.value.__cause__, StopAsyncIteration)

    run(backend, main)


@pytest.mark.parametrize("place", ["call", "source"])
def test_cancelled_error_of_its_own(place: str) -> None:
    """A CancelledError that nobody asked us for is an error like another one, so that no consumer waits for ever."""

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        if place == "source":
            raise asyncio.CancelledError("own")

    async def call(number: int) -> int:
        if place == "call":
            raise asyncio.CancelledError("own")
        return number

    async def main() -> None:
        async with concurrent_map(call, source(), limit=2) as results:
            with pytest.raises(asyncio.CancelledError, match="own"):
                async for _ in results:
                    pass

    asyncio.run(asyncio.wait_for(main(), 20))


def test_early_exit(backend: Backend) -> None:
    """Leaving the block early cancels the calls, awaits their cleanup, and closes the source, which may await."""

    async def main() -> None:
        source, cleaned = Source(range(100)), list[int]()

        async def call(number: int) -> int:
            if number == 0:
                return number
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)
                    cleaned.append(number)
            return 0

        async with concurrent_map(call, source, limit=4) as results:
            async for _ in results:
                await settle()
                break
        assert sorted(cleaned) == [1, 2, 3, 4]
        assert source.closed
        assert not source.cancelled
        with anyio.CancelScope(deadline=-float("inf")):  # nothing is left that could go on
            await settle()
        assert source.taken == 5

    run(backend, main)


def test_early_exit_cancels_a_step_of_the_source(backend: Backend) -> None:
    """A source that is inside a step when the block is left is cancelled there."""
    seen: list[str] = []

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise
        finally:
            seen.append("closed")

    async def main() -> None:
        async with concurrent_map(double, source(), limit=3) as results:
            assert await anext(results) == 0
            await settle()

    run(backend, main)
    assert seen == ["cancelled", "closed"]


@pytest.mark.parametrize("ending", ["left", "closed", "error"])
@pytest.mark.parametrize("step", ["shielded", "caught", "of a class"])
def test_early_exit_and_a_step_that_goes_on(backend: Backend, step: str, ending: str) -> None:
    """A source that has outlived the cancellation of its step is closed like one between steps: cleanup may await."""
    ended: list[str] = []

    async def cleanup() -> None:
        await settle()
        ended.append("cleanup")

    async def steps(over: anyio.Event) -> AsyncGenerator[int, None]:
        try:
            yield 0
            if step == "shielded":
                with anyio.CancelScope(shield=True):
                    await over.wait()
                    await settle()
            else:
                with suppress(anyio.get_cancelled_exc_class()):
                    await anyio.sleep_forever()
            yield 1
        finally:
            await cleanup()

    @final
    class Numbers:
        def __init__(self) -> None:
            self.left = 1

        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            self.left -= 1
            if self.left < 0:
                await anyio.sleep_forever()
            return 0

        async def aclose(self) -> None:
            await cleanup()

    async def main() -> None:
        over = anyio.Event()

        async def call(number: int) -> int:
            if ending == "error":
                await settle()
                over.set()
                raise ProbeError
            return number

        source = Numbers() if step == "of a class" else steps(over)
        async with concurrent_map(call, source, limit=3) as results:
            if ending == "error":
                with pytest.raises(ProbeError):
                    await anext(results)
                assert ended == ["cleanup"]
                return
            assert await anext(results) == 0
            await settle()
            over.set()
            if ending == "closed":
                await results.aclose()
                assert ended == ["cleanup"]
        assert ended == ["cleanup"]

    run(backend, main)


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("kind", ["scope", "task"])
def test_cancelled_while_a_step_that_went_on_is_closed(backend: Backend, kind: str, when: str) -> None:
    """Cancelling the block from outside cancels the cleanup of such a source, too, and is noticed outside alone."""
    if kind == "task" and backend.name == "trio":
        pytest.skip("asyncio's own")
    seen: list[str] = []

    async def main() -> None:
        over = anyio.Event()
        task: Any = asyncio.current_task() if kind == "task" else None

        def cancel() -> None:
            if task is None:
                scope.cancel()
            else:
                task.cancel("mine")

        async def source() -> AsyncGenerator[int, None]:
            try:
                yield 0
                with anyio.CancelScope(shield=True):
                    await over.wait()
                yield 1
            finally:
                try:
                    await settle()
                    if when == "during":
                        seen.append("waits")
                        cancel()
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    seen.append("cancelled")
                    raise

        with suppress(asyncio.CancelledError), anyio.CancelScope() as scope:
            async with concurrent_map(double, source(), limit=3) as results:
                assert await anext(results) == 0
                await settle()
                over.set()
                if when == "before":
                    cancel()
        assert scope.cancelled_caught is (kind == "scope")
        if kind == "task":
            assert task.uncancel() == 0
        await anyio.sleep(0)

    run(backend, main)
    assert seen == (["cancelled"] if when == "before" else ["waits", "cancelled"])


def test_left_at_once(backend: Backend) -> None:
    """A block that is left before its tasks have run closes the source without having stepped it, and calls nothing."""

    @final
    class Unstepped:
        closed = False

        def __aiter__(self) -> Unstepped:
            return self

        async def __anext__(self) -> int:
            raise AssertionError

        async def aclose(self) -> None:
            self.closed = True

    async def main() -> None:
        source = Unstepped()
        async with concurrent_map(double, source, limit=3):
            pass
        assert source.closed

    run(backend, main)


def test_sync_generator_is_closed(backend: Backend) -> None:
    """A sync generator that was not used up is closed; another sync iterator is left as it is."""
    closed: list[str] = []

    def generator() -> Generator[int]:
        try:
            yield from range(100)
        finally:
            closed.append("generator")

    async def main() -> None:
        async with concurrent_map(double, generator(), limit=3) as results:
            await anext(results)
        assert closed == ["generator"]
        rest = iter(range(100))
        async with concurrent_map(double, rest, limit=3) as results:
            await anext(results)
        assert next(rest) in {3, 4}

    run(backend, main)


@pytest.mark.parametrize("cancelled", [False, True])
def test_task_group_of_the_source_is_closed_quietly(backend: Backend, cancelled: bool) -> None:
    """Closing a source that holds a native task group open over its yield is no error, nor where the block was
    cancelled and trio's group has the cancellation of a child as well (rule A9).
    """

    async def source() -> AsyncGenerator[int, None]:
        async with task_group(backend, "native") as start:
            start(anyio.sleep_forever)
            while True:
                yield 1

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with concurrent_map(double, source(), limit=3) as results:
                assert await anext(results) == 2
                if cancelled:
                    await settle()
                    scope.cancel()
        assert scope.cancelled_caught is cancelled

    run(backend, main)


@pytest.mark.parametrize("where", ["taking", "body"])
def test_cancelled_from_outside(backend: Backend, where: str) -> None:
    """Cancelling the block cancels calls and source, awaits what they shield, and the scope alone notices."""

    async def main() -> None:
        calls = Calls()
        closed: list[str] = []

        async def source() -> AsyncGenerator[int, None]:
            try:
                for number in range(100):
                    yield number
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)
                    closed.append("source")

        with anyio.CancelScope() as scope:
            async with concurrent_map(calls, source(), limit=3) as results:
                await settle()
                scope.cancel()
                if where == "taking":
                    await anext(results)
                else:
                    await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert sorted(calls.cancelled) == [0, 1, 2]
        assert closed == ["source"]
        await anyio.sleep(0)

    run(backend, main)


def test_cancelled_results_do_not_look_complete(backend: Backend) -> None:
    """When a cancellation has ended the tasks before it reaches the loop over the results, that is cancelled, and does
    not end as if there were no more items.
    """

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with concurrent_map(double, range(10), limit=2) as results:
                with pytest.raises(anyio.get_cancelled_exc_class()):
                    async for _ in results:
                        scope.cancel()
                        with anyio.CancelScope(shield=True):
                            await settle()
        assert scope.cancelled_caught

    run(backend, main)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("limit", [2, 8])
def test_shielded_loop_in_a_cancelled_block(backend: Backend, limit: int, ordered: bool) -> None:
    """A loop that shields itself from the cancellation of the block gets the results that are due, and then an error:
    the calls are not shielded, and their absence must not look like the end. The scope takes the error's place.
    """

    async def main() -> None:
        items: list[int] = []
        ended: list[str] = []

        async def call(number: int) -> int:
            if number == 1:
                await settle()
                scope.cancel()
                await anyio.sleep_forever()
            return number

        with anyio.CancelScope() as scope:
            async with concurrent_map(call, Source(range(20)), limit=limit, ordered=ordered) as results:
                with anyio.CancelScope(shield=True):
                    with pytest.raises(StepCancelledError, match="was cancelled from outside"):
                        async for item in results:
                            items.append(item)  # noqa: PERF401  # those before the error
                    ended.append("loop")
                    await anext(results)  # which ends no other consumer's loop either
            ended.append("block")  # pragma: no cover  # must not be reached
        assert scope.cancelled_caught
        assert items[0] == 0
        assert items == [0] if ordered else 1 not in items
        assert ended == ["loop"]

    run(backend, main)


def test_cancelled_where_a_shielded_loop_leaves_no_room(backend: Backend) -> None:
    """A cancellation of the block that finds the source waiting for room, and no call running, ends the tasks."""

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with concurrent_map(double, Source(range(20)), limit=2, ordered=False) as results:
                await settle()
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    await settle()
                    assert [await anext(results), await anext(results)] == [0, 2]
                    with pytest.raises(StepCancelledError):
                        await anext(results)
                    await results.aclose()
                    with pytest.raises(StopAsyncIteration):
                        await anext(results)
        assert scope.cancelled_caught

    run(backend, main)


def test_complete_results_of_a_cancelled_block(backend: Backend) -> None:
    """When every call has ended before the cancellation, a shielded loop gets all results and ends as ever."""

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with concurrent_map(double, range(3), limit=4) as results:
                await settle()
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    assert [item async for item in results] == [0, 2, 4]
        assert scope.cancelled_caught

    run(backend, main)


def test_error_of_a_call_that_is_cancelled_with_the_block(backend: Backend) -> None:
    """An error that a call raises when the block is cancelled is what a shielded loop gets."""

    async def call(number: int) -> int:
        try:
            await anyio.sleep_forever()
        finally:
            if number:
                raise ProbeError
        return number  # pragma: no cover  # it has no end

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with concurrent_map(call, range(2), limit=2) as results:
                await settle()
                scope.cancel()
                with anyio.CancelScope(shield=True), pytest.raises(ProbeError):
                    await anext(results)
        assert scope.cancelled_caught

    run(backend, main)


def test_cancelled_while_leaving(backend: Backend) -> None:
    """Cancelled while it waits for the end of its tasks, the block still waits for them, and the scope notices."""

    async def main() -> None:
        ended: list[int] = []

        async def call(number: int) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    scope.cancel()
                    await anyio.sleep(0.01)
                    ended.append(number)

        with anyio.CancelScope() as scope:
            async with concurrent_map(call, range(2), limit=3):
                await settle()
        assert scope.cancelled_caught
        assert sorted(ended) == [0, 1]

    run(backend, main)


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_native_cancellation(use_uvloop: bool) -> None:
    """`task.cancel()` of asyncio ends the block with that CancelledError, its message and count as they should be."""
    if use_uvloop:
        pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main() -> None:
        calls, begun = Calls(), asyncio.Event()

        async def block() -> None:
            async with concurrent_map(calls, range(9), limit=3) as results:
                begun.set()
                await anext(results)

        task = asyncio.create_task(block())
        await begun.wait()
        await settle()
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1
        assert sorted(calls.cancelled) == [0, 1, 2]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await block()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0

    anyio.run(main, backend_options={"use_uvloop": use_uvloop})


def test_memory_is_constant(backend: Backend) -> None:
    """Of many items no more than a few times `limit` are ever alive, and no more tasks than `limit` are started."""
    alive = most = 0

    class Item:
        def __init__(self) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    async def call(item: Item) -> tuple[Item, Any]:
        return item, current_task(backend)

    async def main() -> None:
        tasks: set[Any] = set()
        async with concurrent_map(call, (Item() for _ in range(3000)), limit=10) as results:
            async for _, task in results:
                tasks.add(task)
        assert len(tasks) <= 10

    run(backend, main)
    assert most <= 30
    assert alive == 0


def test_taking_gives_way(backend: Backend) -> None:
    """A consumer of calls that never wait still lets another task run at least once in `limit` results."""

    async def call(number: int) -> int:
        return number

    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.sleep(0)

        async with concurrent_map(call, range(1000), limit=10) as results, anyio.create_task_group() as group:
            group.start_soon(count)
            async for _ in results:
                pass
            assert turns >= 90
            group.cancel_scope.cancel()

    run(backend, main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks since 3.12")
def test_eager_tasks() -> None:
    """On a loop that starts tasks eagerly nothing is lost, doubled or out of order."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_task_factory(cast("Any", asyncio).eager_task_factory)
        async with concurrent_map(double, range(30), limit=3) as results:
            assert [result async for result in results] == [2 * number for number in range(30)]
        async with concurrent_map(Calls(), Source(range(30)), limit=3):
            await settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(asyncio.wait_for(main(), 20))


def test_item_after_the_end(backend: Backend) -> None:
    """An item that the source yields although its step was cancelled, because the block is left, is not called for."""
    called: list[int] = []
    log: list[str] = []

    async def note(number: int) -> int:
        called.append(number)
        return number

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
            try:
                await anyio.sleep_forever()
            finally:
                yield 2
        finally:
            log.append("closed")

    async def main() -> None:
        async with concurrent_map(note, source(), limit=2) as results:
            assert await anext(results) == 1
            await settle()

    run(backend, main)
    assert called == [1]
    assert log == ["closed"]
