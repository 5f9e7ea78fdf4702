"""Cancellation that reaches a generator between two of its steps (SEMANTICS A12).

A scope is held over a yield, and fires while the generator is parked, because another step of the same runner lets the
event loop run. It must then be as if the generator had been waiting in a task of its own: the cancellation arrives at
its next suspension, exactly once.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.scopes import CountedLoop, cancelling, current_task, kinds_in, task_group
from tests.ways import ProbeError, caught, frames_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from asyncgen_tools import Runner
    from tests.conftest import Backend

    Fire = Callable[[], object]

KINDS = pytest.mark.parametrize("kind", ["timeout", "group", "anyio timeout", "anyio scope", "anyio group"])
GROUPS = pytest.mark.parametrize("kind", ["group", "anyio group"])
TIMEOUTS = pytest.mark.parametrize("kind", ["timeout", "anyio timeout"])

#: What comes out of a block whose scope has fired, by the kind of scope.
RAISED: dict[str, type[Exception] | None] = {
    "timeout": TimeoutError,
    "group": ExceptionGroup,
    "anyio timeout": TimeoutError,
    "anyio scope": None,
    "anyio group": ExceptionGroup,
}


@asynccontextmanager
async def hold(backend: Backend, kind: str) -> AsyncGenerator[Fire]:
    """Hold a scope; gives what makes it fire: its deadline passes, it is cancelled, or its child fails."""
    if kind.endswith("group"):
        failure = anyio.Event()

        async def child() -> None:
            await failure.wait()
            raise ProbeError

        async with task_group(backend, "anyio" if kind == "anyio group" else "native") as start:
            start(child)
            yield failure.set
    elif kind == "anyio scope":
        with anyio.CancelScope() as scope:
            yield scope.cancel
    elif kind == "anyio timeout":
        with anyio.fail_after(60) as scope:
            yield functools.partial(setattr, scope, "deadline", float("-inf"))
    elif backend.name == "trio":
        import trio

        try:
            with trio.fail_after(60) as trio_scope:
                yield functools.partial(setattr, trio_scope, "deadline", float("-inf"))
        except trio.TooSlowError as exc:
            raise TimeoutError from exc
    else:
        async with asyncio.timeout(60) as timeout:
            yield functools.partial(timeout.reschedule, 0)


async def turns(backend: Backend, number: int = 10) -> None:
    """Let the event loop run, and nothing else."""
    for _ in range(number):
        await backend.checkpoint()


def fire_while_parked(runner: Runner, backend: Backend, fire: Fire) -> None:
    """Let a scope fire while its generator is parked, and the loop run until all have taken notice."""

    async def main() -> None:
        await turns(backend)  # a child may not have begun yet
        fire()
        await turns(backend)

    runner.run(main)


async def wait_for_event(backend: Backend) -> None:
    """Wait for what never comes."""
    del backend
    await anyio.Event().wait()


async def wait_for_time(backend: Backend) -> None:
    """Wait until the end of the world."""
    await backend.sleep(1e6)


async def wait_for_turn(backend: Backend) -> None:
    """Give way once, as `sleep(0)` does."""
    await backend.checkpoint()


WAITS = pytest.mark.parametrize("wait", [wait_for_event, wait_for_time, wait_for_turn])


class Holding:
    """A generator that holds a scope over its yields and notes what happens to it."""

    def __init__(self, backend: Backend, kind: str, wait: Callable[[Backend], Awaitable[None]]) -> None:
        self.backend, self.kind, self.wait = backend, kind, wait
        self.fire: Fire = lambda: None
        self.cancellations: list[BaseException] = []
        self.outcome: BaseException | None = None
        self.cancelling: list[int] = []

    async def body(self, quiet: int = 0) -> AsyncGenerator[str, Any]:
        """Yield "held"; then "quiet" as often as told, in steps that do not suspend; wait; yield "after"."""
        try:
            async with hold(self.backend, self.kind) as self.fire:
                yield "held"
                for _ in range(quiet):
                    yield "quiet"
                try:
                    await self.wait(self.backend)
                except BaseException as exc:
                    self.cancellations.append(exc)
                    raise
        except (TimeoutError, ExceptionGroup) as exc:
            self.outcome = exc
        self.cancelling.append(cancelling(self.backend))
        await turns(self.backend)
        yield "after"
        await turns(self.backend)
        self.cancelling.append(cancelling(self.backend))


@KINDS
def test_fires_while_its_context_is_in_use(backend: Backend, kind: str) -> None:
    """What fires while the caller works in the generator's own context is not lost (A5, A12)."""
    holding = Holding(backend, kind, wait_for_event)
    context = contextvars.copy_context()
    with backend.runner() as runner:
        generator = runner.drive(holding.body(), context=context)
        assert next(generator) == "held"
        context.run(fire_while_parked, runner, backend, holding.fire)
        assert next(generator) == "after"
        assert len(holding.cancellations) == 1


@KINDS
@WAITS
@pytest.mark.parametrize("quiet", [0, 1, 200])
def test_fires_at_the_next_suspension(
    backend: Backend, kind: str, wait: Callable[[Backend], Awaitable[None]], quiet: int
) -> None:
    """What fires while the generator is parked arrives where it next suspends, however many steps later, once; then
    the scope acts as inside a task, its requests are taken back, and the generator goes on undisturbed (A12).
    """
    holding = Holding(backend, kind, wait)
    with backend.runner() as runner:
        generator = runner.drive(holding.body(quiet))
        assert next(generator) == "held"
        fire_while_parked(runner, backend, holding.fire)
        assert [next(generator) for _ in range(quiet)] == ["quiet"] * quiet
        assert holding.cancellations == []
        assert next(generator) == "after"
        assert len(holding.cancellations) == 1
        expected = RAISED[kind]
        assert type(holding.outcome) is (type(None) if expected is None else expected)
        if expected is ExceptionGroup:
            assert kinds_in(holding.outcome) == {ProbeError}
        assert list(generator) == []
        assert holding.cancelling == [0, 0]


@KINDS
def test_comes_out_of_the_step(backend: Backend, kind: str) -> None:
    """What the generator does not handle comes out of the step that suspended, as it is (A9, A12)."""
    fires: list[Fire] = []

    async def body() -> AsyncGenerator[str, None]:
        async with hold(backend, kind) as fire:
            fires.append(fire)
            yield "held"
            await wait_for_event(backend)

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        fire_while_parked(runner, backend, fires[0])
        expected = RAISED[kind]
        assert isinstance(caught(next, generator), StopIteration if expected is None else expected)
        assert list(generator) == []


@KINDS
def test_is_not_delivered_where_nothing_waits(backend: Backend, kind: str) -> None:
    """A block that is left without suspending takes its request back: what is awaited later is not cancelled (A12)."""
    fires: list[Fire] = []

    async def body() -> AsyncGenerator[object, None]:
        outcome: BaseException | None = None
        try:
            async with hold(backend, kind) as fire:
                fires.append(fire)
                yield "held"
        except (TimeoutError, ExceptionGroup) as exc:
            outcome = exc
        await turns(backend)
        yield outcome
        await turns(backend)
        yield cancelling(backend)

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        fire_while_parked(runner, backend, fires[0])
        outcome = next(generator)
        # A group that has failed says so at its end; a deadline that nothing waited for, nothing.
        assert isinstance(outcome, ExceptionGroup) == kind.endswith("group")
        assert list(generator) == [0]


@KINDS
def test_does_not_make_the_loop_spin(backend: Backend, kind: str) -> None:
    """While the cancelled generator stays parked, and a neighbour waits, the loop waits, too (A12)."""
    counted = CountedLoop(backend)
    holding = Holding(backend, kind, wait_for_event)
    with counted.runner() as runner:
        generator = runner.drive(holding.body(quiet=3))
        assert next(generator) == "held"
        fire_while_parked(runner, backend, holding.fire)
        for _ in range(2):
            before = counted.turns()
            runner.run(backend.sleep, 0.05)
            assert counted.turns() - before < 40
            assert next(generator) == "quiet"
        assert next(generator) == "quiet"
        assert next(generator) == "after"
        assert len(holding.cancellations) == 1
        before = counted.turns()
        runner.run(backend.sleep, 0.05)
        assert counted.turns() - before < 40


@KINDS
def test_neighbours_go_on(backend: Backend, kind: str) -> None:
    """While cancelled generators are parked, the others of the runner take their steps as usual (A12)."""
    holdings = [Holding(backend, kind, wait_for_event) for _ in range(2)]

    async def counting() -> AsyncGenerator[int, None]:
        for number in range(300):
            if number % 3 == 0:
                await backend.checkpoint()
            yield number

    with backend.runner() as runner:
        generators = [runner.drive(holding.body()) for holding in holdings]
        neighbour = runner.drive(counting())
        for generator, holding in zip(generators, holdings, strict=True):
            assert next(generator) == "held"
            assert next(neighbour) >= 0
            fire_while_parked(runner, backend, holding.fire)
        assert list(neighbour) == list(range(2, 300))
        for generator, holding in zip(generators, holdings, strict=True):
            assert next(generator) == "after"
            assert len(holding.cancellations) == 1
            generator.close()


def test_fires_by_its_deadline(backend: Backend) -> None:
    """A deadline that passes while the consumer is busy with another step is a TimeoutError at the next wait (A12)."""
    with backend.runner() as runner:
        outcomes: list[object] = []

        async def body() -> AsyncGenerator[int, None]:
            try:
                with anyio.fail_after(0.01):
                    yield 1
                    yield 2
                    await anyio.sleep_forever()
            except TimeoutError as exc:
                outcomes.append(type(exc))
            await turns(backend)
            outcomes.append(cancelling(backend))

        generator = runner.drive(body())
        next(generator)
        runner.run(backend.sleep, 0.03)
        assert list(generator) == [2]
        assert outcomes == [TimeoutError, 0]


@KINDS
@pytest.mark.parametrize("suspends", [False, True])
def test_closed_while_cancelled(backend: Backend, kind: str, suspends: bool) -> None:
    """A generator that is closed after its scope has fired cleans up; what its cleanup awaits inside the scope is
    cancelled, as in a task, and outside of it is not (A12).
    """
    fires: list[Fire] = []
    log: list[str] = []

    async def body() -> AsyncGenerator[str, None]:
        try:
            async with hold(backend, kind) as fire:
                fires.append(fire)
                try:
                    yield "held"
                finally:
                    log.append("inner")
                    if suspends:
                        try:
                            await wait_for_event(backend)
                        finally:
                            log.append("cancelled")
        finally:
            await turns(backend)
            log.append(f"outer {cancelling(backend)}")

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        fire_while_parked(runner, backend, fires[0])
        try:
            generator.close()
        except (TimeoutError, BaseExceptionGroup) as exc:
            raised: BaseException | None = exc
        else:
            raised = None
        assert log == ["inner", *["cancelled"] * suspends, "outer 0"]
        if kind.endswith("group"):
            assert ProbeError in kinds_in(raised)
        elif suspends and kind.endswith("timeout"):
            assert type(raised) is TimeoutError
        else:
            assert raised is None
        assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED
        generator.close()


@KINDS
def test_runner_closes_cancelled_generators(backend: Backend, kind: str) -> None:
    """Closing the runner ends a generator whose scope has fired while parked, its cleanup included (A12, A16)."""
    fires: list[Fire] = []
    log: list[str] = []

    async def body() -> AsyncGenerator[str, None]:
        try:
            async with hold(backend, kind) as fire:
                fires.append(fire)
                yield "held"
        finally:
            await turns(backend)
            log.append("cleaned")

    runner = backend.runner()
    generator = runner.drive(body())
    next(generator)
    fire_while_parked(runner, backend, fires[0])
    with suppress(BaseExceptionGroup):
        runner.close()
    assert log == ["cleaned"]
    assert list(generator) == []


@KINDS
def test_every_step_of_a_cancelled_generator(backend: Backend, kind: str) -> None:
    """While its scope has fired, and nothing suspends, send, throw and errors work as ever, in the same task (A12)."""
    fires: list[Fire] = []
    tasks: list[object] = []

    async def body() -> AsyncGenerator[object, Any]:
        tasks.append(current_task(backend))
        with suppress(TimeoutError, ExceptionGroup):
            async with hold(backend, kind) as fire:
                fires.append(fire)
                received = yield "held"
                tasks.append(current_task(backend))
                try:
                    yield received
                except KeyError as exc:
                    yield exc
                tasks.append(current_task(backend))
                with anyio.CancelScope(shield=True):
                    yield "shielded"
                with suppress(LookupError):
                    yield "next"
        await turns(backend)
        tasks.append(current_task(backend))
        raise ProbeError

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        fire_while_parked(runner, backend, fires[0])
        assert generator.send(0) == 0
        thrown = KeyError("thrown")
        assert generator.throw(thrown) is thrown
        runner.run(turns, backend)
        assert next(generator) == "shielded"
        runner.run(turns, backend)
        assert next(generator) == "next"
        exc = caught(lambda: generator.throw(LookupError()))
        assert type(exc) is ProbeError
        assert frames_of(exc)[0] == "<lambda>"
        assert frames_of(exc).count("(ours)") <= 2
        assert frames_of(exc)[-1] == "body"
        assert len(set(tasks)) == 1
        assert list(generator) == []


@pytest.mark.parametrize("kind", ["anyio scope", "anyio timeout"])
def test_anyio_scope_redelivers_as_in_a_task(backend: Backend, kind: str) -> None:
    """Inside a cancelled scope of anyio every wait is cancelled until it is left, but no wait under a shield (A12)."""
    log: list[str] = []
    fires: list[Fire] = []

    async def body() -> AsyncGenerator[str, None]:
        with suppress(TimeoutError):
            async with hold(backend, kind) as fire:
                fires.append(fire)
                yield "held"
                for _ in range(3):
                    try:
                        await anyio.Event().wait()
                    except anyio.get_cancelled_exc_class():
                        log.append("cancelled")
                with anyio.CancelScope(shield=True):
                    await turns(backend)
                    log.append("shielded")
                    yield "shielded"
                    await turns(backend)
                    log.append("still shielded")
                await anyio.Event().wait()
                log.append("never")
        await turns(backend)
        log.append("left")

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        fire_while_parked(runner, backend, fires[0])
        assert next(generator) == "shielded"
        runner.run(turns, backend)
        assert list(generator) == []
    assert log == [*["cancelled"] * 3, "shielded", "still shielded", "left"]


@pytest.mark.parametrize("order", [("outer", "inner"), ("inner", "outer")])
@pytest.mark.parametrize("inner", ["timeout", "anyio timeout", "anyio scope"])
@TIMEOUTS
def test_both_of_two_nested_scopes_fire(backend: Backend, kind: str, inner: str, order: tuple[str, str]) -> None:
    """When an outer timeout and an inner scope have both fired while the generator was parked, the outer one is a
    TimeoutError in the end, and nothing of either is left (A12).
    """
    fires: dict[str, Fire] = {}
    log: list[object] = []

    async def body() -> AsyncGenerator[str, None]:
        try:
            async with hold(backend, kind) as fires["outer"]:
                with suppress(TimeoutError, ExceptionGroup):
                    async with hold(backend, inner) as fires["inner"]:
                        yield "held"
                        await wait_for_event(backend)
                await wait_for_event(backend)
        except TimeoutError:
            log.append("timeout")
        log.append(cancelling(backend))
        await turns(backend)
        yield "after"

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        for name in order:
            fire_while_parked(runner, backend, fires[name])
        assert list(generator) == ["after"]
    assert log == ["timeout", 0]


@pytest.mark.parametrize("order", [("outer", "inner"), ("inner", "outer")])
@pytest.mark.parametrize("inner", ["timeout", "anyio timeout", "anyio scope"])
@pytest.mark.parametrize("quiet", [0, 1])
@TIMEOUTS
def test_request_behind_an_inner_scope(
    backend: Backend, kind: str, inner: str, quiet: int, order: tuple[str, str]
) -> None:
    """When an inner scope, which has fired, too, is left without a wait, the outer timeout still ends the next wait,
    were it in the same step (A12).
    """
    fires: dict[str, Fire] = {}
    log: list[object] = []

    async def body() -> AsyncGenerator[str, None]:
        try:
            async with hold(backend, kind) as fires["outer"]:
                with suppress(TimeoutError):
                    async with hold(backend, inner) as fires["inner"]:
                        yield "held"
                for _ in range(quiet):
                    yield "left"
                await wait_for_event(backend)
        except TimeoutError:
            log.append("timeout")
        log.append(cancelling(backend))
        await turns(backend)
        yield "after"

    with backend.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        for name in order:
            fire_while_parked(runner, backend, fires[name])
        assert list(generator) == [*["left"] * quiet, "after"]
    assert log == ["timeout", 0]


# asyncio's edges ------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_asyncio(backend: Backend) -> Backend:
    """What is about asyncio's own counting of cancellation requests."""
    if backend.name == "trio":
        pytest.skip("trio cancels scopes, not tasks")
    return backend


def cancel_while_parked(runner: Runner, backend: Backend, *messages: str) -> None:
    """Cancel the host's task by hand, from another task."""

    async def main() -> None:
        (task,) = [task for task in asyncio.all_tasks() if "host of" in task.get_name() and "body" in task.get_name()]
        for message in messages:
            task.cancel(message)
            await turns(backend)

    runner.run(main)


@WAITS
def test_task_cancelled_by_hand(on_asyncio: Backend, wait: Callable[[Backend], Awaitable[None]]) -> None:
    """`task.cancel(msg)` of a parked generator's task is a CancelledError with that message where it next suspends,
    once; if the body lets it pass it comes out as CancelledError, and the runner is usable (A9, A12).
    """
    log: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await wait(on_asyncio)
        except asyncio.CancelledError as exc:
            log.append(exc.args)
            await turns(on_asyncio)  # not cancelled again
            log.append(cancelling(on_asyncio))
            raise

    with on_asyncio.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        cancel_while_parked(runner, on_asyncio, "by hand")
        assert isinstance(caught(next, generator), asyncio.CancelledError)
        assert log == [("by hand",), 1]
        assert list(generator) == []
        assert runner.run(asyncio.sleep, 0, "usable") == "usable"


def test_two_requests_are_one_cancellation(on_asyncio: Backend) -> None:
    """Two requests before the generator suspends are one CancelledError, and both are counted, as in a task (A12)."""
    log: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await wait_for_event(on_asyncio)
        except asyncio.CancelledError:
            log.append(cancelling(on_asyncio))
        await turns(on_asyncio)
        task: asyncio.Task[object] = current_task(on_asyncio)
        task.uncancel()
        task.uncancel()
        yield 2
        await turns(on_asyncio)
        yield 3

    with on_asyncio.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        cancel_while_parked(runner, on_asyncio, "first", "second")
        assert list(generator) == [2, 3]
    assert log == [2]


def test_swallowed_request_is_not_repeated(on_asyncio: Backend) -> None:
    """A body that swallows the cancellation without taking the request back is not cancelled again by us (A12)."""
    swallowed: list[int] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 0
        for number in range(1, 4):
            try:
                await turns(on_asyncio)
            except asyncio.CancelledError:
                swallowed.append(number)
            yield number

    with on_asyncio.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        cancel_while_parked(runner, on_asyncio, "by hand")
        assert next(generator) == 1
        runner.run(turns, on_asyncio)
        assert next(generator) == 2
        assert next(generator) == 3
        assert list(generator) == []
    assert swallowed == [1]


def test_later_request_is_delivered_too(on_asyncio: Backend) -> None:
    """A request that arrives after an earlier one was delivered is a cancellation of its own (A12)."""
    swallowed: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number
            try:
                await wait_for_event(on_asyncio)
            except asyncio.CancelledError as exc:
                swallowed.append(exc.args)

    with on_asyncio.runner() as runner:
        generator = runner.drive(body())
        for number in range(3):
            assert next(generator) == number
            cancel_while_parked(runner, on_asyncio, str(number))
        assert list(generator) == []
    assert swallowed == [("0",), ("1",), ("2",)]


def test_timeout_after_a_handled_request(on_asyncio: Backend) -> None:
    """A timeout still tells its own expiry from a request that was there before it (A12)."""
    fires: list[Fire] = []
    log: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 0
        try:
            await wait_for_event(on_asyncio)
        except asyncio.CancelledError:
            log.append("cancelled")  # and not taken back
        try:
            async with hold(on_asyncio, "timeout") as fire:
                fires.append(fire)
                yield 1
                await wait_for_event(on_asyncio)
        except TimeoutError:
            log.append("timeout")
        log.append(cancelling(on_asyncio))

    with on_asyncio.runner() as runner:
        generator = runner.drive(body())
        next(generator)
        cancel_while_parked(runner, on_asyncio, "by hand")
        next(generator)
        fire_while_parked(runner, on_asyncio, fires[0])
        assert list(generator) == []
    assert log == ["cancelled", "timeout", 1]


def test_cancelled_in_the_turn_in_which_it_steps(on_asyncio: Backend) -> None:
    """A cancellation in the very turn in which a step suspends is delivered in that step (A12)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        task: asyncio.Task[object] = current_task(on_asyncio)
        yield 0
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await wait_for_event(on_asyncio)
        except asyncio.CancelledError:
            log.append("cancelled")
            task.uncancel()
        await turns(on_asyncio)
        yield 1

    assert list(on_asyncio.drive(body())) == [0, 1]
    assert log == ["cancelled"]


def test_cancelled_by_itself(on_asyncio: Backend) -> None:
    """A body that cancels its own task is cancelled where it next suspends, in that step or a later one (A12)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        task: asyncio.Task[object] = current_task(on_asyncio)
        for number in range(2):
            task.cancel()
            if number:
                yield number
            try:
                await wait_for_turn(on_asyncio)
            except asyncio.CancelledError:
                log.append(f"cancelled {number}")
                task.uncancel()
        await turns(on_asyncio)

    assert list(on_asyncio.drive(body())) == [1]
    assert log == ["cancelled 0", "cancelled 1"]


def test_virtual_deadline_while_the_consumer_is_busy() -> None:
    """On a loop whose clock is set by hand, `asyncio.timeout` fires when another step gives the loop a turn (A12)."""

    class SetLoop(asyncio.SelectorEventLoop):
        hour = 0

        def time(self) -> float:
            return super().time() + 3600 * self.hour

    import asyncgen_tools

    loop = SetLoop()
    log: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            async with asyncio.timeout(1800):
                yield 1
                yield 2
                await asyncio.sleep(10)
                log.append("slept")
        except TimeoutError:
            yield 3

    with asyncgen_tools.Runner(backend_options={"loop_factory": lambda: loop}) as runner:
        generator = runner.drive(body())
        assert next(generator) == 1
        loop.hour = 1
        runner.run(asyncio.sleep, 0)
        assert list(generator) == [2, 3]
    assert log == []


# trio's edges ---------------------------------------------------------------------------------------------------------


def test_trio_clock_jumps_while_the_consumer_is_busy() -> None:
    """On trio's MockClock a deadline passes between two steps, and is noticed at the next checkpoint (A12)."""
    trio = pytest.importorskip("trio")
    testing = pytest.importorskip("trio.testing")
    import asyncgen_tools

    clock = testing.MockClock()

    async def body() -> AsyncGenerator[object, None]:
        with trio.move_on_after(10) as scope:
            yield 1
            yield 2
            await trio.lowlevel.checkpoint()
            yield "not reached"
        yield scope.cancelled_caught
        with trio.fail_after(10):
            yield "again"
            await trio.sleep(5)

    generator = asyncgen_tools.drive(body(), backend="trio", backend_options={"clock": clock})
    assert next(generator) == 1
    clock.jump(11)
    assert next(generator) == 2
    assert next(generator) is True
    assert next(generator) == "again"
    clock.jump(11)
    assert type(caught(next, generator)) is trio.TooSlowError


def test_trio_counts_checkpoints() -> None:
    """Trio's own check that a block executes a checkpoint holds inside of steps, too (A4)."""
    trio = pytest.importorskip("trio")
    testing = pytest.importorskip("trio.testing")
    import asyncgen_tools

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            with testing.assert_checkpoints():
                await trio.lowlevel.checkpoint()
            yield number
            with testing.assert_checkpoints():
                await trio.sleep(0)
            with testing.assert_no_checkpoints():
                number += 1  # noqa: PLW2901  # something that does not wait
            with pytest.raises(AssertionError, match="did not yield"), testing.assert_checkpoints():
                number += 1  # noqa: PLW2901

    assert list(asyncgen_tools.drive(body(), backend="trio")) == [0, 1, 2]
