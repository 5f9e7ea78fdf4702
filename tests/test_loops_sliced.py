"""Event loops in slices: timeouts, the thread between steps, refusals, fairness (SEMANTICS A11, A13, A14, A15).

What becomes of dropped generators is in test_loops_sliced_drop.py, of forked ones in test_loops_sliced_fork.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from asyncgen_tools import Runner, drive
from asyncgen_tools.errors import (
    AsyncgenToolsError,
    ClosedError,
    RunningLoopError,
    StepTimeoutError,
    WrongThreadError,
)
from asyncgen_tools.loops.primitives import TURN
from tests.conftest import BACKENDS, BRIEF
from tests.thread_state import policy_state, settled, traces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

    from tests.conftest import Backend

T = TypeVar("T")


async def count(backend: Backend, to: int = 3, *, suspend: bool = True) -> AsyncGenerator[int, None]:
    """Count, with a suspension before each number."""
    for number in range(to):
        if suspend:
            await backend.checkpoint()
        yield number


def run_natively(backend: Backend, function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function as the backend's library does."""
    if backend.name == "trio":
        import trio

        return trio.run(function)

    async def main() -> T:
        return await function()

    return asyncio.run(main())


def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a new thread, which ends then; what it raises is raised here."""
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(function())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "the thread hangs"
    if errors:
        raise errors[0]
    return results[0]


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Backend:
    """A second backend, for what involves two."""
    chosen: Backend = request.param
    if chosen.needs is not None:
        pytest.importorskip(chosen.needs)
    return chosen


each_other = pytest.mark.parametrize("other", BACKENDS, ids=[backend.id for backend in BACKENDS], indirect=True)


class TestThreadBetweenSteps:
    """A13: outside a step, the thread is as it was."""

    def test_nothing_is_left_in_the_thread(self, backend: Backend) -> None:
        """Between steps, borrowed or suspended, no trace of an event loop is in the thread; after the end, none at all
        (A13).
        """

        async def source() -> AsyncGenerator[int, None]:
            for number in range(2 * TURN):
                if number % 3 == 0:
                    await backend.checkpoint()
                yield number

        assert settled()
        generator = backend.drive(source())
        assert settled()
        found = [traces() for _ in generator]
        assert found == [[]] * (2 * TURN)
        assert settled()

    @pytest.mark.parametrize("end", ["return", "raise", "close", "throw", "drop"])
    def test_nothing_is_left_whatever_the_end(self, backend: Backend, end: str) -> None:
        """However a generator ends, no trace of its loop stays in the thread (A13)."""

        async def source() -> AsyncGenerator[int, None]:
            await backend.checkpoint()
            yield 1
            if end == "raise":
                raise LookupError("the end")

        generator = backend.drive(source())
        assert next(generator) == 1
        assert traces() == []
        with suppress(LookupError, StopIteration):
            match end:
                case "close":
                    generator.close()
                case "throw":
                    generator.throw(LookupError("the end"))
                case "drop":
                    del generator
                case _:
                    next(generator)
        assert settled()

    def test_nothing_is_left_by_a_runner(self, backend: Backend) -> None:
        """Opening, using and closing a runner leaves no trace in the thread, and none while it is open (A13)."""

        @asynccontextmanager
        async def manager() -> AsyncGenerator[int, None]:
            await backend.checkpoint()
            yield 1
            await backend.checkpoint()

        with backend.runner() as runner:
            assert traces() == []
            runner.run(backend.checkpoint)
            assert traces() == []
            with runner.wrap_async_context_manager(manager()):
                assert traces() == []
            assert list(runner.drive(count(backend))) == [0, 1, 2]
            assert traces() == []
        assert settled()

    def test_asyncio_policy_is_untouched(self, backend: Backend) -> None:
        """The policy of asyncio remembers the same event loop, and the same having been set, throughout and after
        (A13).
        """

        def body() -> None:
            before = policy_state()
            for _ in backend.drive(count(backend)):
                assert policy_state() == before
            with backend.runner() as runner:
                runner.run(backend.checkpoint)
                assert policy_state() == before
            assert policy_state() == before

        in_thread(body)
        body()

    def test_event_loop_of_the_caller_stays_set(self, backend: Backend) -> None:
        """A loop that the caller set as current, and runs by hand between steps, is still that and works (A13)."""

        def body() -> None:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                for number in backend.drive(count(backend)):
                    assert policy_state()["_loop"] is loop
                    assert loop.run_until_complete(asyncio.sleep(0, number)) == number
                assert policy_state()["_loop"] is loop
            finally:
                asyncio.set_event_loop(None)
                loop.close()

        in_thread(body)
        assert settled()

    def test_context_of_the_caller_is_untouched(self, backend: Backend) -> None:
        """What the body sets in its context is not seen between steps, nor does it lose it (A13)."""
        variable = contextvars.ContextVar("variable", default="the caller's")

        async def source() -> AsyncGenerator[str, None]:
            token = variable.set("the body's")
            yield variable.get()
            await backend.checkpoint()
            yield variable.get()
            variable.reset(token)
            yield variable.get()

        for inside in backend.drive(source()):
            assert inside in {"the body's", "the caller's"}
            assert variable.get() == "the caller's"
        assert list(backend.drive(source())) == ["the body's", "the body's", "the caller's"]

    @each_other
    @pytest.mark.parametrize("suspend", [False, True])
    def test_body_of_the_for_loop_runs_a_loop(self, backend: Backend, other: Backend, suspend: bool) -> None:
        """The body of a `for` loop may call asyncio.run, uvloop.run or trio.run in every round (A13)."""

        async def main() -> str:
            await other.checkpoint()
            return "done"

        found = [
            (number, run_natively(other, main), traces())
            for number in backend.drive(count(backend, 5, suspend=suspend))
        ]
        assert found == [(number, "done", []) for number in range(5)]
        assert settled()

    @each_other
    @pytest.mark.parametrize("suspend", [False, True])
    def test_body_of_the_for_loop_drives(self, backend: Backend, other: Backend, suspend: bool) -> None:
        """The body of a `for` loop may drive another generator, to its end or not, on any backend (A13)."""
        found: list[Any] = []
        held: list[Any] = []
        for number in backend.drive(count(backend, 3, suspend=suspend)):
            found.append([*other.drive(count(other, 3, suspend=suspend))])
            held[:] = [other.drive(count(other, suspend=suspend))]
            found.append((number, next(held[0])))
            assert traces() == []
        assert found == [[0, 1, 2], (0, 0), [0, 1, 2], (1, 0), [0, 1, 2], (2, 0)]
        held.clear()
        assert settled()

    @each_other
    def test_three_deep(self, backend: Backend, other: Backend) -> None:
        """Loops driven, run and driven again inside one another, three deep, each go on where they were (A13)."""

        async def main() -> list[int]:
            return [number async for number in count(other)]

        with backend.runner() as runner:
            found = [
                (one, two, three, run_natively(other, main))
                for one in runner.drive(count(backend, 2))
                for two in other.drive(count(other, 2))
                for three in backend.drive(count(backend, 2, suspend=False))
            ]
        natively = [0, 1, 2]
        assert found == [(one, two, three, natively) for one in range(2) for two in range(2) for three in range(2)]
        assert settled()

    @each_other
    def test_interleaved(self, backend: Backend, other: Backend) -> None:
        """Generators of several runners and backends may be stepped alternately, and closed in any order (A13)."""
        with backend.runner() as one, other.runner() as two:
            generators = [
                one.drive(count(backend, 100, suspend=False)),
                two.drive(count(other, 100)),
                one.drive(count(backend, 100)),
                other.drive(count(other, 100, suspend=False)),
                backend.drive(count(backend, 100)),
            ]
            rows = [(row, traces()) for row in zip(*generators, strict=True)]
            assert rows == [((number,) * 5, []) for number in range(100)]
            again = [one.drive(count(backend)), two.drive(count(other)), backend.drive(count(backend))]
            assert [next(generator) for generator in again] == [0, 0, 0]
            for generator in (again[1], again[0], again[2]):
                generator.close()
                assert traces() == []
        assert settled()

    @each_other
    def test_runners_closed_in_the_order_of_opening(self, backend: Backend, other: Backend) -> None:
        """Runners whose lives overlap, the first opened being the first closed, do not disturb one another (A13)."""
        one, two = backend.runner(), other.runner()
        first, second = one.drive(count(backend)), two.drive(count(other))
        assert (next(first), next(second), next(first)) == (0, 0, 1)
        one.close()
        assert traces() == []
        assert list(second) == [1, 2]
        two.close()
        assert settled()

    @each_other
    def test_driving_in_an_async_body_is_refused(self, backend: Backend, other: Backend) -> None:
        """A body that calls sync code which drives gets RunningLoopError there, and may go on as if nothing were
        (A13).
        """

        def sync_code(started: Any) -> str:
            with pytest.raises(RunningLoopError, match="Portal"):
                next(other.drive(count(other)))
            with pytest.raises(RunningLoopError, match="Portal"):
                next(started)
            with pytest.raises(RunningLoopError, match="Portal"):
                other.runner().run(other.checkpoint)
            return "refused"

        async def source(started: Any) -> AsyncGenerator[str, None]:
            yield sync_code(started)
            await backend.checkpoint()
            yield sync_code(started)
            await backend.checkpoint()
            yield "still here"

        with other.drive(count(other)) as started:
            assert next(started) == 0
            assert list(backend.drive(source(started))) == ["refused", "refused", "still here"]
            assert list(started) == [1, 2]
        assert settled()

    def test_stepping_a_neighbour_in_a_body_is_refused(self, backend: Backend) -> None:
        """A body that steps another generator of its own runner gets RunningLoopError; both then go on (A13)."""
        with backend.runner() as runner:
            neighbour = runner.drive(count(backend))
            assert next(neighbour) == 0

            async def source() -> AsyncGenerator[str, None]:
                for _ in range(2):
                    with pytest.raises(RunningLoopError):
                        next(neighbour)
                    with pytest.raises(RunningLoopError):
                        runner.run(backend.checkpoint)
                    with pytest.raises(RunningLoopError):
                        runner.close()
                    yield "refused"
                    await backend.checkpoint()

            assert list(runner.drive(source())) == ["refused"] * 2
            assert list(neighbour) == [1, 2]
        assert settled()

    def test_bare_works_anywhere(self, backend: Backend) -> None:
        """What never waits can be driven on the bare backend inside any loop, since it blocks none (A13)."""
        held = drive(count(backend, 10, suspend=False), backend="bare")
        assert next(held) == 0

        async def source() -> AsyncGenerator[list[int], None]:
            yield [*drive(count(backend, suspend=False), backend="bare"), next(held)]
            await backend.checkpoint()
            yield [*drive(count(backend, suspend=False), backend="bare"), next(held)]
            await backend.checkpoint()

        assert list(backend.drive(source())) == [[0, 1, 2, 1], [0, 1, 2, 2]]
        assert list(held) == [3, 4, 5, 6, 7, 8, 9]
        assert settled()

    @pytest.mark.parametrize("suspend", [False, True])
    def test_threads_do_not_meet(self, backend: Backend, suspend: bool) -> None:
        """Several threads drive at once, each with a loop of its own, and all see their own items (A13)."""
        barrier = threading.Barrier(4)
        found: list[list[int]] = []

        def body() -> None:
            barrier.wait(10)
            items = list(backend.drive(count(backend, 300, suspend=suspend)))
            barrier.wait(30)  # the current tasks of all threads are in one place
            assert settled()
            found.append(items)

        threads = [threading.Thread(target=body) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [list(range(300))] * 4

    def test_generator_code_nests(self, backend: Backend) -> None:
        """Sync generators that drive may hand over to one another by `yield from` (A13)."""

        def sync(depth: int) -> Iterator[int]:
            yield from backend.drive(count(backend, 2))
            if depth:
                yield from sync(depth - 1)

        assert list(sync(2)) == [0, 1] * 3
        assert settled()

    def test_signal_handler_of_the_caller_is_kept(self, backend: Backend) -> None:
        """A SIGINT handler of the application is in place inside steps, between them, and afterwards (A13)."""

        def handler(number: int, frame: object) -> None:
            """Do nothing."""

        before = signal.signal(signal.SIGINT, handler)
        try:

            async def source() -> AsyncGenerator[Any, None]:
                yield signal.getsignal(signal.SIGINT)
                await backend.checkpoint()
                yield signal.getsignal(signal.SIGINT)

            for seen in backend.drive(source()):
                assert seen is handler
                assert signal.getsignal(signal.SIGINT) is handler
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, before)


class TestRefusals:
    """A14: misuse is one clear error, and nothing hangs."""

    def test_running_loop(self, backend: Backend) -> None:
        """Where a loop runs, a step, `run`, `with Runner` and `close` are RunningLoopError that names what to write
        (A14).
        """

        async def main() -> None:
            runner = backend.runner()
            for misuse in (
                lambda: next(backend.drive(count(backend))),
                lambda: next(runner.drive(count(backend))),
                lambda: runner.run(backend.checkpoint),
                runner.__enter__,
            ):
                with pytest.raises(RunningLoopError) as caught:
                    misuse()
                assert isinstance(caught.value, RuntimeError)
                message = str(caught.value)
                assert backend.library in message
                assert "is running in this thread" in message
                assert "`async for`" in message
                assert "Portal" in message
            runner.close()

        run_natively(backend, main)
        assert settled()

    def test_generator_survives_a_running_loop(self, backend: Backend) -> None:
        """A generator refused inside a running loop, in every operation, is where it was when that loop has ended
        (A14).
        """
        events: list[str] = []

        async def source() -> AsyncGenerator[int, int]:
            try:
                for number in range(5):
                    await backend.checkpoint()
                    yield number
            finally:
                events.append("closed")

        generator = backend.drive(source())
        assert next(generator) == 0

        async def main() -> None:
            for misuse in (
                lambda: next(generator),
                lambda: generator.send(1),
                lambda: generator.throw(KeyError),
                generator.close,
            ):
                with pytest.raises(RunningLoopError):
                    misuse()
                assert (generator.gi_suspended, generator.gi_running, events) == (True, False, [])

        run_natively(backend, main)
        assert list(generator) == [1, 2, 3, 4]
        assert events == ["closed"]
        assert settled()

    def test_unstarted_generator_survives_a_running_loop(self, backend: Backend) -> None:
        """A generator whose first step was refused can be started when the running loop has ended (A14)."""
        generator = backend.drive(count(backend))

        async def main() -> None:
            with pytest.raises(RunningLoopError):
                next(generator)

        run_natively(backend, main)
        assert list(generator) == [0, 1, 2]

    def test_runner_survives_a_running_loop(self, backend: Backend) -> None:
        """An open runner that could not be closed inside a running loop is open, and closes afterwards (A14)."""
        with backend.runner() as runner:
            generator = runner.drive(count(backend))
            assert next(generator) == 0

            async def main() -> None:
                with pytest.raises(RunningLoopError):
                    runner.close()

            run_natively(backend, main)
            assert list(generator) == [1, 2]
            runner.run(backend.checkpoint)
        assert settled()

    @pytest.mark.parametrize("suspend", [False, True])
    def test_wrong_thread(self, backend: Backend, suspend: bool) -> None:
        """In another thread every operation is WrongThreadError, and afterwards the generator goes on in its own
        (A14).
        """
        generator = backend.drive(count(backend, 5, suspend=suspend))
        assert next(generator) == 0

        def elsewhere() -> list[str]:
            messages: list[str] = []
            for misuse in (
                lambda: next(generator),
                lambda: generator.send(None),
                lambda: generator.throw(KeyError),
                generator.close,
            ):
                with pytest.raises(WrongThreadError) as caught:
                    misuse()
                assert isinstance(caught.value, RuntimeError)
                messages.append(str(caught.value))
            assert settled()
            return messages

        for message in in_thread(elsewhere):
            assert "another thread" in message
            assert "Portal" in message
            assert "drive()" in message
        assert generator.gi_suspended
        assert list(generator) == [1, 2, 3, 4]
        assert settled()

    def test_runner_in_the_wrong_thread(self, backend: Backend) -> None:
        """An open runner used or closed in another thread is WrongThreadError, and is usable in its own (A14)."""
        with backend.runner() as runner:

            def elsewhere() -> None:
                for misuse in (
                    lambda: runner.run(backend.checkpoint),
                    lambda: next(runner.drive(count(backend))),
                    runner.close,
                    runner.__enter__,
                ):
                    with pytest.raises(WrongThreadError, match="another thread"):
                        misuse()

            in_thread(elsewhere)
            assert list(runner.drive(count(backend))) == [0, 1, 2]
        assert settled()

    def test_unstarted_generator_belongs_to_no_thread(self, backend: Backend) -> None:
        """A generator made in one thread may be started, and so run to its end, in another (A14)."""
        generator = backend.drive(count(backend))
        assert in_thread(lambda: list(generator)) == [0, 1, 2]
        assert list(generator) == []

    def test_thread_that_took_a_dead_ones_number(self, backend: Backend) -> None:
        """A generator whose thread has died is refused in every other, even in one that got the same identifier
        (A14).
        """
        generators: list[Any] = []

        def begin() -> int:
            generator = backend.drive(count(backend))
            next(generator)
            generators.append(generator)
            return threading.get_ident()

        dead = in_thread(begin)

        def use() -> int:
            with pytest.raises(WrongThreadError):
                next(generators[0])
            assert settled()
            return threading.get_ident()

        if not any(in_thread(use) == dead for _ in range(100)):
            pytest.skip("no thread has got the number of the dead one")
        with pytest.warns(ResourceWarning, match="^count "):
            generators.clear()

    def test_closed_runner(self, backend: Backend) -> None:
        """A closed runner is ClosedError in every operation that is not `close`, and says what to make (A14)."""
        runner = backend.runner()
        generator, unstarted = runner.drive(count(backend)), runner.drive(count(backend))
        assert next(generator) == 0
        runner.close()
        runner.close()
        for misuse in (
            lambda: runner.run(backend.checkpoint),
            lambda: runner.drive(count(backend)),
            runner.__enter__,
            lambda: next(unstarted),
        ):
            with pytest.raises(ClosedError) as caught:
                misuse()
            assert isinstance(caught.value, RuntimeError)
            assert "closed" in str(caught.value)
            assert "new Runner" in str(caught.value)
        assert list(generator) == []
        generator.close()
        assert settled()

    def test_runner_closed_before_use(self, backend: Backend) -> None:
        """A runner that was never used closes without an event loop, and is closed then (A14)."""
        runner = backend.runner()
        runner.close()
        with pytest.raises(ClosedError):
            runner.run(backend.checkpoint)
        assert settled()

    def test_errors_are_of_one_base(self, backend: Backend) -> None:
        """Each refusal is an AsyncgenToolsError, so that one clause catches them all (A14)."""
        runner = backend.runner()
        runner.close()
        with pytest.raises(AsyncgenToolsError):
            runner.run(backend.checkpoint)
        assert settled()


class TestTimeout:
    """A11: `timeout=` is the time that one step may take."""

    def test_step_that_takes_too_long(self, backend: Backend) -> None:
        """A step that waits longer is cancelled, its cleanup awaited, and is a TimeoutError; the generator is finished
        (A11).
        """
        events: list[str] = []

        async def slow() -> AsyncGenerator[int, None]:
            yield 1
            try:
                await backend.sleep(60)
            except BaseException as exc:
                events.append(type(exc).__name__)
                raise
            finally:
                if backend.name == "trio":
                    import trio

                    with trio.CancelScope(shield=True):
                        await backend.checkpoint()
                else:
                    await backend.checkpoint()
                events.append("cleaned up")

        generator = backend.steady().drive(slow(), timeout=BRIEF)
        assert next(generator) == 1
        with pytest.raises(StepTimeoutError, match=r"slow took longer than the timeout of 0\.5 s") as caught:
            next(generator)
        assert isinstance(caught.value, TimeoutError)
        assert events == ["Cancelled" if backend.name == "trio" else "CancelledError", "cleaned up"]
        assert generator.gi_frame is None
        assert list(generator) == []
        generator.close()
        assert settled()

    def test_first_step(self, backend: Backend) -> None:
        """The first step has the same time as every other (A11)."""

        async def slow() -> AsyncGenerator[int, None]:
            await backend.sleep(60)
            yield 1

        with pytest.raises(StepTimeoutError):
            next(backend.drive(slow(), timeout=0.02))
        assert settled()

    @pytest.mark.parametrize("operation", ["next", "send", "throw", "close"])
    def test_every_operation(self, backend: Backend, operation: str) -> None:
        """Not only `next` but `send`, `throw` and `close` are timed (A11)."""

        async def slow() -> AsyncGenerator[int, int]:
            try:
                yield 1
            finally:
                await backend.sleep(60)

        generator = backend.steady().drive(slow(), timeout=BRIEF)
        assert next(generator) == 1
        with pytest.raises(StepTimeoutError):
            match operation:
                case "send":
                    generator.send(1)
                case "throw":
                    generator.throw(KeyError("thrown"))
                case "close":
                    generator.close()
                case _:
                    next(generator)
        assert generator.gi_frame is None
        assert settled()

    def test_swallowed_cancellation(self, backend: Backend) -> None:
        """A body that swallows the cancellation and yields on is closed all the same, and the step a TimeoutError
        (A11).
        """
        events: list[str] = []

        async def stubborn() -> AsyncGenerator[int, None]:
            try:
                try:
                    await backend.sleep(60)
                except BaseException as exc:
                    events.append(type(exc).__name__.removesuffix("Error"))
                yield 1
            except GeneratorExit:
                events.append("closed")
                raise
            finally:
                events.append("cleaned up")

        generator = backend.drive(stubborn(), timeout=0.02)
        with pytest.raises(StepTimeoutError):
            next(generator)
        assert events == ["Cancelled", "closed", "cleaned up"]
        assert list(generator) == []
        assert settled()

    def test_error_in_cleanup(self, backend: Backend) -> None:
        """An error of the cleanup arrives as it is, as from asyncio.timeout and trio.fail_after; that ends it, too
        (A11).
        """

        async def clumsy() -> AsyncGenerator[int, None]:
            try:
                await backend.sleep(60)
                yield 1
            finally:
                raise LookupError("in cleanup")

        generator = backend.drive(clumsy(), timeout=0.02)
        with pytest.raises(LookupError, match="in cleanup"):
            next(generator)
        assert list(generator) == []
        assert settled()

    def test_return_instead_of_the_cancellation(self, backend: Backend) -> None:
        """A body that answers the cancellation by returning is finished, and the step a TimeoutError (A11)."""

        async def quick() -> AsyncGenerator[int, None]:
            try:
                await backend.sleep(60)
            except BaseException:
                return
            yield 1

        generator = backend.drive(quick(), timeout=0.02)
        with pytest.raises(StepTimeoutError):
            next(generator)
        assert list(generator) == []
        assert settled()

    def test_compute_then_wait(self, backend: Backend) -> None:
        """Time spent computing counts: the first wait after it is cancelled (A11)."""

        async def busy() -> AsyncGenerator[int, None]:
            end = backend_time() + 0.05
            while backend_time() < end:
                pass
            await backend.sleep(60)
            yield 1

        with pytest.raises(StepTimeoutError):
            next(backend.drive(busy(), timeout=0.01))
        assert settled()

    def test_compute_without_waiting(self, backend: Backend) -> None:
        """A step that computes for longer and never waits cannot be cut short, and gives its item (A11)."""

        async def busy() -> AsyncGenerator[int, None]:
            for number in range(2):
                end = backend_time() + 0.03
                while backend_time() < end:
                    pass
                yield number

        assert list(backend.drive(busy(), timeout=0.01)) == [0, 1]
        assert settled()

    def test_each_step_by_itself(self, backend: Backend) -> None:
        """The time is a step's, not the total: many short waits may add up to more (A11)."""

        async def steady() -> AsyncGenerator[int, None]:
            for number in range(6):
                await backend.sleep(BRIEF / 4)
                yield number

        assert list(backend.steady().drive(steady(), timeout=BRIEF)) == [0, 1, 2, 3, 4, 5]
        assert settled()

    def test_many_waits_in_one_step(self, backend: Backend) -> None:
        """One step that waits many times is over when their sum is longer (A11)."""

        async def tireless() -> AsyncGenerator[int, None]:
            while True:
                await backend.checkpoint()
            yield 1  # type: ignore[unreachable]  # what makes it a generator

        with pytest.raises(StepTimeoutError):
            next(backend.drive(tireless(), timeout=0.02))
        assert settled()

    def test_time_between_steps_does_not_count(self, backend: Backend) -> None:
        """What the caller does between steps takes nothing off the next one's time (A11)."""

        async def source() -> AsyncGenerator[int, None]:
            for number in range(2):
                await backend.sleep(0.001)
                yield number

        found: list[int] = []
        for number in backend.drive(source(), timeout=BRIEF):
            found.append(number)
            end = backend_time() + BRIEF * 1.1
            while backend_time() < end:
                pass
        assert found == [0, 1]

    def test_runner_is_usable_afterwards(self, backend: Backend) -> None:
        """After a TimeoutError the runner, and its other generators, work on (A11)."""
        with backend.runner() as runner:
            neighbour = runner.drive(count(backend))
            assert next(neighbour) == 0

            async def slow() -> AsyncGenerator[int, None]:
                await backend.sleep(60)
                yield 1

            for _ in range(3):
                with pytest.raises(StepTimeoutError):
                    next(runner.drive(slow(), timeout=0.02))
            assert list(neighbour) == [1, 2]
            runner.run(backend.checkpoint)
        assert settled()

    def test_body_with_a_timeout_of_its_own(self, backend: Backend) -> None:
        """A timeout in the body that is shorter is the body's own affair (A11)."""

        @contextmanager
        def own_timeout() -> Generator[None, None, None]:
            if backend.name == "trio":
                import trio

                with trio.fail_after(0.01):
                    yield
            else:
                yield

        async def careful() -> AsyncGenerator[str, None]:
            try:
                if backend.name == "trio":
                    with own_timeout():
                        await backend.sleep(60)
                else:
                    async with asyncio.timeout(0.01):
                        await backend.sleep(60)
            except Exception as exc:
                yield type(exc).__name__

        assert list(backend.drive(careful(), timeout=5)) in (["TooSlowError"], ["TimeoutError"])
        assert settled()


def backend_time() -> float:
    """Seconds of a clock that no test replaces."""
    import time

    return time.monotonic()


class TestFairness:
    """A15: a generator that never suspends does not starve its loop."""

    @pytest.mark.parametrize("generators", [1, 2])
    def test_background_task_gets_turns(self, backend: Backend, generators: int) -> None:
        """A background task gets a turn at least every 64 steps, also while two generators alternate (A15)."""
        turns: list[int] = []
        steps = 0

        async def background() -> None:
            while True:
                turns.append(steps)
                await backend.checkpoint()

        tasks: list[Any] = []

        async def begin() -> None:
            if backend.name == "trio":
                import trio

                trio.lowlevel.spawn_system_task(background)
            else:
                tasks.append(asyncio.create_task(background()))

        async def source() -> AsyncGenerator[None, None]:
            for _ in range(1000):
                yield

        with backend.runner() as runner:
            runner.run(begin)
            for _ in zip(*[runner.drive(source()) for _ in range(generators)], strict=True):
                steps += generators
        gaps = [after - before for before, after in zip([0, *turns], [*turns, steps], strict=False)]
        assert len(turns) >= 1000 * generators / TURN
        assert max(gaps) <= TURN

    def test_timer_fires(self, backend: Backend) -> None:
        """A timer that is due fires within 64 steps (A15)."""
        fired: list[bool] = []

        async def source() -> AsyncGenerator[None, None]:
            if backend.name == "trio":
                import trio

                async def timer() -> None:
                    await trio.sleep(0.01)
                    fired.append(True)

                trio.lowlevel.spawn_system_task(timer)
            else:
                asyncio.get_running_loop().call_later(0.01, fired.append, True)
            while True:
                yield

        generator = backend.drive(source())
        for _ in range(TURN + 1):  # in the turn that this brings, the timer's task begins
            next(generator)
        end = backend_time() + 0.02
        while backend_time() < end:
            pass
        for _ in range(TURN + 1):
            next(generator)
        assert fired == [True]
        generator.close()

    def test_callback_of_another_thread_runs(self, backend: Backend) -> None:
        """What another thread hands to the loop runs within 64 steps (A15)."""
        called: list[bool] = []

        async def source() -> AsyncGenerator[Any, None]:
            if backend.name == "trio":
                import trio

                yield trio.lowlevel.current_trio_token().run_sync_soon
            else:
                yield asyncio.get_running_loop().call_soon_threadsafe
            while True:
                yield None

        generator = backend.drive(source())
        call_soon = next(generator)
        in_thread(lambda: call_soon(called.append, True))
        for _ in range(2 * TURN):  # trio runs such callbacks in a task that must be woken first
            next(generator)
        assert called == [True]
        generator.close()

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no SIGUSR1 here")
    def test_signal_handler_of_the_loop_runs(self, backend: Backend) -> None:
        """What the body has asked the loop to do on a signal is done within 64 steps (A15)."""
        received: list[int] = []

        async def listen() -> None:
            import trio

            with trio.open_signal_receiver(signal.SIGUSR1) as signals:
                received.append(await anext(signals))

        async def source() -> AsyncGenerator[None, None]:
            if backend.name == "trio":
                import trio.testing

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(listen)
                    await trio.testing.wait_all_tasks_blocked()
                    while True:
                        yield
            else:
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGUSR1, received.append, signal.SIGUSR1)
                try:
                    while True:
                        yield
                finally:
                    loop.remove_signal_handler(signal.SIGUSR1)

        generator = backend.drive(source())
        next(generator)
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(4 * TURN):  # trio hands it on through three tasks, each in a turn
            next(generator)
        assert received == [signal.SIGUSR1]
        generator.close()
        assert settled()

    def test_ready_callbacks_run_in_order(self, backend: Backend) -> None:
        """What the body schedules before each item runs in that order, and is not put off by more than 64 steps
        (A15).
        """
        if backend.name == "trio":
            pytest.skip("trio promises no order of its tasks")
        ran: list[int] = []

        async def source() -> AsyncGenerator[int, None]:
            for number in range(300):
                asyncio.get_running_loop().call_soon(ran.append, number)
                yield number

        for number in backend.drive(source()):
            assert len(ran) >= number - TURN
        assert ran == list(range(300))

    def test_neighbour_that_waits_is_woken(self, backend: Backend) -> None:
        """A task that waits for what the body sets between items goes on while the generator never suspends (A15)."""
        done: list[bool] = []
        tasks: list[Any] = []

        async def source() -> AsyncGenerator[None, None]:
            if backend.name == "trio":
                import trio

                event: Any = trio.Event()
            else:
                event = asyncio.Event()

            async def waiter() -> None:
                await event.wait()
                done.append(True)

            if backend.name == "trio":
                import trio

                trio.lowlevel.spawn_system_task(waiter)
            else:
                tasks.append(asyncio.create_task(waiter()))
            yield
            event.set()
            while not done:
                yield

        assert len(list(backend.drive(source()))) <= 4 * TURN
        assert done == [True]


def test_runner_is_generic_over_backends(backend: Backend) -> None:
    """A Runner shows its backend and where it stands in its life, in its repr (A14)."""
    runner = Runner(backend=backend.name, backend_options=backend.options)
    assert repr(runner) == f"<Runner backend={backend.name!r}, not opened yet>"
    with runner:
        assert repr(runner) == f"<Runner backend={backend.name!r}, open>"
    assert repr(runner) == f"<Runner backend={backend.name!r}, closed>"
