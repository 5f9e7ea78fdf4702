"""What happens to loops that run in slices rarely: exceptions between their own lines, crashes, odd loops."""

from __future__ import annotations

import asyncio
import signal
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import pytest

from asyncgen_tools import Runner, drive
from asyncgen_tools.errors import AsyncgenToolsError
from asyncgen_tools.loops.asyncio_loop import notice_signals
from asyncgen_tools.loops.ends import all_of
from asyncgen_tools.testing import virtual_time
from tests.children import run_child
from tests.conftest import BACKENDS
from tests.scopes import task_group
from tests.thread_state import settled, traces
from tests.ways import ProbeError, anywhere_fixture as anywhere_fixture, caught, numbers  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from asyncgen_tools import SyncGenerator
    from tests.conftest import Backend
    from tests.ways import Way

pytestmark = pytest.mark.asyncgen_leaks("off")  # a loop that goes down leaves generators open


def strike(
    monkeypatch: pytest.MonkeyPatch, runner: Runner, method: str, *errors: BaseException, late: bool = False
) -> None:
    """Have the next calls of a method of the runner's loop raise, as the handler of a signal may anywhere.

    Args:
        monkeypatch: pytest's.
        runner: whose loop it is.
        method: the name of the method.
        errors: what the next calls raise.
        late: whether they do so at their end instead of their beginning.
    """
    loop: Any = vars(runner)["_loop"]
    left = list(errors)
    original = getattr(loop, method)

    def struck(*args: Any, **options: Any) -> Any:
        if left:
            if late:
                original(*args, **options)
            raise left.pop(0)
        return original(*args, **options)

    monkeypatch.setattr(loop, method, struck)


# Exceptions of signal handlers ----------------------------------------------------------------------------------------


def test_struck_before_the_loop_runs(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a signal handler that strikes when a step has suspended, and its task does not have it yet, is
    raised in the generator, which finishes its cleanup (A10).
    """
    seen: list[object] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        try:
            await backend.sleep(3600)
        except BaseException as exc:
            seen.append(exc)
            await backend.checkpoint()
            raise
        finally:
            seen.append("cleaned up")

    error = ProbeError()
    with backend.runner() as runner:
        generator = runner.drive(body())
        assert next(generator) == 1
        strike(monkeypatch, runner, "adopt", error)
        assert caught(next, generator) is error
        assert seen == [error, "cleaned up"]
        assert list(generator) == []
        assert list(runner.drive(numbers())) == [1, 2]
    assert settled()


@pytest.mark.parametrize("late", [False, True])
def test_struck_while_a_task_begins(backend: Backend, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """An exception that strikes while a generator gets its task leaves no task behind, for which the end of the runner
    would wait (A10).
    """
    error = ProbeError()
    with backend.runner() as runner:
        assert list(runner.drive(numbers())) == [1, 2]
        generator = runner.drive(numbers())
        strike(monkeypatch, runner, "turn", error, late=late)
        assert caught(next, generator) is error
        assert list(generator) == []
        assert list(runner.drive(numbers())) == [1, 2]
    assert settled()


def test_struck_before_the_first_step(anywhere: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that strikes before the first step has begun comes out, and the source is not begun (A10)."""
    error = ProbeError()
    with anywhere.runner() as runner:
        source = numbers()
        generator = runner.drive(source)
        strike(monkeypatch, runner, "careful_step", error)
        assert caught(next, generator) is error
        assert list(generator) == []
        assert list(runner.drive(numbers())) == [1, 2]
    assert settled()


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio's, of the one that yields in the end
@pytest.mark.parametrize("how", ["awaits", "yields", "raises", "waits for ever"])
def test_struck_twice_while_the_loop_runs(backend: Backend, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The second exception that strikes while the loop runs ends the waiting, whatever the generator makes of it: it is
    raised there, and what it raises in return is the context (A10).
    """

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        while True:
            try:
                await backend.sleep(3600)
            except ProbeError:
                if how == "awaits":
                    await backend.checkpoint()
                    raise
                if how == "raises":
                    raise KeyError from None
                if how == "yields":
                    yield 2
                    return

    first, second = ProbeError("first"), ProbeError("second")
    runner = backend.runner()
    generator = runner.drive(body())
    assert next(generator) == 1
    strike(monkeypatch, runner, "slice", first, second)
    error = caught(next, generator)
    assert error is second
    assert isinstance(error.__context__, KeyError if how == "raises" else object)
    monkeypatch.undo()
    assert list(generator) == []
    assert list(runner.drive(numbers())) == [1, 2]
    runner.close()


def test_ctrl_c_while_a_task_ends(backend: Backend) -> None:
    """Ctrl-C in the turn in which the task of an ended generator goes, when nothing is waited for, is raised in place
    of the end; the runner is usable (A10).
    """
    script = """
    def press():
        signal.raise_signal(signal.SIGINT)
    async def body():
        yield 1
        await sleep(0)
        if BACKEND["backend"] == "trio":
            trio.lowlevel.current_trio_token().run_sync_soon(press)
        else:
            asyncio.get_running_loop().call_soon(press)
    async def double(number):
        await sleep(0)
        return 2 * number
    with Runner(**BACKEND) as runner:
        generator = runner.drive(body())
        next(generator)
        try:
            next(generator)
            say("not interrupted")
        except KeyboardInterrupt:
            say("interrupted")
        say(list(generator), runner.run(double, 21))
    say(traces())
    """
    child = run_child(script, backend, forked=True)
    assert (child.status, child.out, child.err) == (0, ["interrupted", "[] 42", "[]"], [])


def test_ctrl_c_in_the_cleanup_of_another(anywhere: Way) -> None:
    """In a generator that is closed on the way to a step of another one, because it was dropped in another thread,
    Ctrl-C is noted first; the second is raised where it strikes. It ends the step (A8, A10).
    """
    script = """
    async def rows():
        try:
            yield 1
        finally:
            signal.raise_signal(signal.SIGINT)
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                say("raised")
    async def numbers():
        yield 1
    with Runner(**BACKEND) as runner:
        held = [runner.drive(rows())]
        next(held[0])
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        generator = runner.drive(numbers())
        try:
            next(generator)
        except KeyboardInterrupt:
            say("interrupted")
        say(list(generator), list(runner.drive(numbers())))
    say(traces())
    """
    child = run_child(script, anywhere.backend, forked=True)
    assert (child.status, child.out, child.err) == (0, ["raised", "interrupted", "[] [1]", "[]"], [])


@pytest.mark.parametrize("entered", [False, True])
def test_ctrl_c_while_the_loop_opens(backend: Backend, monkeypatch: pytest.MonkeyPatch, entered: bool) -> None:
    """Ctrl-C while a runner opens its loop is raised when that is open, once, and the runner can be used (A10)."""
    runner = backend.runner()
    loop: Any = vars(runner)["_loop"]
    original = loop.start

    def start(seal: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        original(seal)

    monkeypatch.setattr(loop, "start", start)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been inherited as ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.__enter__() if entered else runner.run(backend.checkpoint)
        with runner:
            runner.run(backend.checkpoint)
            assert list(runner.drive(numbers())) == [1, 2]
        assert settled()
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_wakeup_descriptor() -> None:
    """Where no loop has asked to be woken by signals there is nothing to write, and nothing is changed."""
    assert signal.set_wakeup_fd(-1) == -1
    notice_signals()
    assert signal.set_wakeup_fd(-1) == -1


# Timeouts -------------------------------------------------------------------------------------------------------------


def test_timeout_after_a_cancellation() -> None:
    """A step that is being cancelled for another reason may take longer than its timeout for the cleanup (A10, A11)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        tasks = [asyncio.get_running_loop().create_task(bad())]
        try:
            yield 1
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(100)
            log.append("cleaned up")
            assert isinstance(tasks[0].exception(), SystemExit)

    async def bad() -> None:
        await asyncio.sleep(1)
        raise SystemExit(3)

    generator = drive(body(), timeout=10, backend_options=virtual_time("asyncio"))
    assert next(generator) == 1
    with pytest.raises(SystemExit):
        next(generator)
    assert log == ["cleaned up"]


# The end of a runner --------------------------------------------------------------------------------------------------


def test_task_that_fails_at_the_end() -> None:
    """What a background task raises when the runner's end cancels it goes to the loop's exception handler (A16)."""
    contexts: list[dict[str, Any]] = []

    async def fails() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ProbeError

    async def prepare() -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        task = loop.create_task(fails())
        await asyncio.sleep(0)
        return task

    with Runner() as runner:
        task = runner.run(prepare)
    assert [context["message"] for context in contexts] == ["unhandled exception while a runner was closed"]
    assert contexts[0]["task"] is task
    assert isinstance(contexts[0]["exception"], ProbeError)


#: Calls `next` of `generator` at each of the last depths to which functions may call one another.
AT_THE_LIMIT = """
    def deepest():
        try:
            return 1 + deepest()
        except RecursionError:
            return 0
    def deep(depth):
        return next(generator) if depth == 0 else deep(depth - 1)
    async def numbers():
        while True:
            yield 1
    room, seen = deepest(), set()
"""


def test_recursion_too_deep_for_a_step(anywhere: Way) -> None:
    """RecursionError at whatever depth of a step leaves the thread as it was, although no function can be called then
    to put it right; the runner's other generators work (A13).
    """
    script = """
    with Runner(**BACKEND) as runner:
        for depth in range(room - 60, room):
            generator = runner.drive(numbers())
            next(generator)
            try:
                seen.add(deep(depth))
            except RecursionError:
                seen.add("RecursionError")
            assert traces() == [] and not vars(runner)["_loop"].inside(), (room - depth, traces())
            other = runner.drive(numbers())
            assert next(other) == 1
            other.close()
            generator.close()
    say(seen == {1, "RecursionError"})
    """
    child = run_child(AT_THE_LIMIT + script, anywhere.backend)
    assert (child.status, child.out, child.err) == (0, ["True"], [])


def test_loop_that_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a closed loop is told nothing in silence; that the recursion is too deep, as in a handler of signals, is a
    RuntimeError as well, and comes out (A13).
    """

    class TooDeep(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *_: object, **__: object) -> NoReturn:
            raise RecursionError

    with Runner(backend_options={"loop_factory": TooDeep}) as runner:
        loop: Any = vars(runner)["_loop"]
        with pytest.raises(RecursionError):
            loop.soon(print)
    loop.soon(print)


def test_recursion_too_deep_for_a_step_of_a_portal(backend: Backend) -> None:
    """A step of a portal that is begun where no more function can be called is RecursionError, and nobody waits for its
    end; the portal can be used, and its close ends all that is left (A13, A14, A16).
    """
    script = """
    with Portal(**BACKEND) as portal:
        for depth in range(room - 60, room):
            generator = portal.drive(numbers())
            next(generator)
            try:
                seen.add(deep(depth))
            except RecursionError:
                seen.add("RecursionError")
            assert traces() == [], (room - depth, traces())
            generator.close()
        assert next(portal.drive(numbers())) == 1
    say(seen == {1, "RecursionError"})
    """
    child = run_child(AT_THE_LIMIT + script, backend)
    assert (child.status, child.out, child.err) == (0, ["True"], [])


def test_dropped_elsewhere_while_the_runner_closes(backend: Backend) -> None:
    """A generator that another thread drops while the runner closes is closed by that, once (A8, A16)."""
    log: list[str] = []
    held: list[Any] = []

    async def body(name: str) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            if name == "first":
                thread = threading.Thread(target=held.clear)
                thread.start()
                thread.join(10)
            log.append(name)

    runner = backend.runner()
    held.append(runner.drive(body("second")))
    assert next(held[0]) == 1
    first = runner.drive(body("first"))
    assert next(first) == 1
    with pytest.warns(ResourceWarning, match="was dropped before its end"):
        runner.close()
    assert log == ["first", "second"]
    assert list(backend.drive(numbers())) == [1, 2]
    assert log == ["first", "second"]
    assert settled()


def test_exit_after_its_thread() -> None:
    """A generator whose thread has ended is among those of which the exit of the interpreter warns (A8)."""
    script = """
    async def rows():
        yield 1
    def target():
        global generator
        generator = drive(rows(), **BACKEND)
        next(generator)
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    say("ends")
    """
    child = run_child(script, BACKENDS[0], flags=("-Walways",))
    assert (child.status, child.out) == (0, ["ends"])
    assert "ResourceWarning: rows was still open at the exit" in "\n".join(child.err)


@pytest.mark.filterwarnings("ignore:.* was dropped before its end:ResourceWarning")
@pytest.mark.parametrize("method", ["adopt", "slice", "run_once"])
def test_collected_where_a_step_begins_to_wait(backend: Backend, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A generator that the collector finds where another one's step has just suspended takes nothing away from that:
    closing it runs the loop, and so what the step waits for (A8).
    """
    log: list[str] = []
    held: list[SyncGenerator[int, None, None]] = []

    async def dropped() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            for _ in range(10):
                await backend.checkpoint()
            log.append("closed")

    async def waiting() -> AsyncGenerator[int, None]:
        event = anyio.Event()

        async def child() -> None:
            await begun.wait()
            event.set()

        begun = anyio.Event()
        async with task_group(backend, "native") as start:
            start(child)
            yield 1
            begun.set()
            await event.wait()
            log.append("stepped")
            yield 2
            await backend.checkpoint()
            yield 3

    with backend.runner() as runner:
        generator = runner.drive(waiting())
        assert next(generator) == 1
        held.append(runner.drive(dropped()))
        next(held[0])
        loop: Any = vars(runner)["_loop"]
        method = "work_off" if (backend.name, method) == ("trio", "run_once") else method
        original = getattr(loop, method)

        def struck(*args: Any) -> Any:
            held.clear()
            return original(*args)

        monkeypatch.setattr(loop, method, struck)
        assert next(generator) == 2
        monkeypatch.undo()
        assert next(generator) == 3
    assert sorted(log) == ["closed", "stepped"]
    assert settled()


def test_loops_of_other_threads_open_meanwhile() -> None:
    """Looking at the loops of all threads, as an exit, a fork and a leak tracker do, bears that one opens just then."""

    class Loop:
        pass

    loops = [Loop(), Loop()]

    class Registry(weakref.WeakSet[Loop]):
        def __iter__(self) -> Iterator[Loop]:
            for loop in super().__iter__():
                self.add(loops[1])  # as another thread may
                yield loop

    registry = Registry(loops[:1])
    assert {*all_of(registry)} == {*loops}


def test_fork_of_another_selector() -> None:
    """A forked child lets go of a loop whose selector is not the system's fastest, too; the parent goes on (A14)."""
    script = """
    import selectors
    def factory():
        return asyncio.SelectorEventLoop(selectors.SelectSelector())
    async def rows():
        yield 1
        await sleep(0)
        yield 2
    def body():
        say(list(drive(rows(), **BACKEND)))
    generator = drive(rows(), backend_options={"loop_factory": factory})
    next(generator)
    say(fork(body))
    say(list(generator))
    """
    child = run_child(script, BACKENDS[0])
    assert (child.status, child.out, child.err) == (0, ["[1, 2]", "0", "[2]"], [])


# Trio -----------------------------------------------------------------------------------------------------------------


class TestCrashOfTrio:
    """A system task that raises takes the whole run down."""

    def test_in_a_step(self) -> None:
        """A step that waits ends with trio's error, and so does nothing afterwards: the runner cannot be used (A14)."""
        trio = pytest.importorskip("trio", reason="trio is not installed")

        async def crash() -> None:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            raise ProbeError

        async def body() -> AsyncGenerator[int, None]:
            trio.lowlevel.spawn_system_task(crash)
            await trio.sleep_forever()
            yield 1

        runner = Runner(backend="trio")
        neighbour = runner.drive(numbers())
        assert next(neighbour) == 1
        with pytest.raises(trio.TrioInternalError):
            next(runner.drive(body()))
        with pytest.raises(AsyncgenToolsError):
            runner.run(trio.sleep, 0)
        runner.close()
        with suppress(AsyncgenToolsError):
            neighbour.close()
        assert settled()

    @pytest.mark.parametrize("when", ["step", "cleanup", "end"])
    def test_inside_of_trio(self, when: str) -> None:
        """A run that breaks inside, as by a faulty abort function, ends with trio's error, and nothing hangs: in a
        step, while a generator is closed, or at the runner's end (A14).
        """
        trio = pytest.importorskip("trio", reason="trio is not installed")

        def faulty(_: object) -> Any:
            return None

        async def breaks() -> None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.lowlevel.wait_task_rescheduled(faulty)

        async def body() -> AsyncGenerator[int, None]:
            try:
                yield 1
                await breaks()
            finally:
                await breaks()

        async def prepare() -> None:
            trio.lowlevel.spawn_system_task(breaks_at_the_end)
            await trio.sleep(0)

        async def breaks_at_the_end() -> None:
            try:
                await trio.sleep_forever()
            finally:
                await breaks()

        runner = Runner(backend="trio")
        neighbour = runner.drive(numbers())
        assert next(neighbour) == 1
        last: Callable[[], object] = runner.close
        if when == "end":
            runner.run(prepare)
        else:
            generator = runner.drive(body())
            assert next(generator) == 1
            if when == "step":
                last = generator.__next__
        with pytest.raises(trio.TrioInternalError):
            last()
        runner.close()
        with suppress(AsyncgenToolsError):
            neighbour.close()
        assert traces() == []

    def test_at_the_end(self) -> None:
        """A run that goes down while the runner closes it is trio's error there (A16)."""
        trio = pytest.importorskip("trio", reason="trio is not installed")

        async def crash() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ProbeError

        async def prepare() -> None:
            trio.lowlevel.spawn_system_task(crash)
            await trio.sleep(0)

        runner = Runner(backend="trio")
        runner.run(prepare)
        with pytest.raises(trio.TrioInternalError):
            runner.close()
        assert settled()

    def test_by_ctrl_c(self) -> None:
        """Ctrl-C that takes the run down while the runner closes it is a KeyboardInterrupt (A10)."""
        pytest.importorskip("trio", reason="trio is not installed")
        script = """
        @trio.lowlevel.disable_ki_protection
        async def stubborn():
            try:
                await sleep_forever()
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                say("goes on")
        async def prepare():
            trio.lowlevel.spawn_system_task(stubborn)
            await sleep(0)
        runner = Runner(**BACKEND)
        runner.run(prepare)
        try:
            runner.close()
        except KeyboardInterrupt as exc:
            say(type(exc.__cause__).__name__)
        say(traces())
        """
        child = run_child(script, BACKENDS[2], forked=True)
        assert (child.status, child.out, child.err) == (0, ["TrioInternalError", "[]"], [])
