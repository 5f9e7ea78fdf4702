"""What is particular to the trio loop: its options, virtual time, and the names of trio that are not public."""

from __future__ import annotations

import inspect
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import Portal, Runner, drive
from asyncgen_tools.errors import MissingLibraryError, StepTimeoutError
from tests.children import run_child
from tests.thread_state import settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

trio = pytest.importorskip("trio")
pytest.importorskip("trio.testing")


class TestVirtualTime:
    """Trio's MockClock drives timeouts and sleeps."""

    def clock(self) -> dict[str, Any]:
        """Options with a clock that jumps whenever nothing else can happen."""
        return {"clock": trio.testing.MockClock(autojump_threshold=0)}

    def test_sleeping(self) -> None:
        """A day's sleep is over at once, and the clock has moved by a day (A11)."""

        async def source() -> AsyncGenerator[float, None]:
            for _ in range(3):
                yield trio.current_time()
                await trio.sleep(86400)

        first, second, third = drive(source(), backend="trio", backend_options=self.clock())
        assert (second - first, third - second) == (86400, 86400)
        assert settled()

    def test_timeout_that_expires(self) -> None:
        """A timeout is measured by the loop's clock: it expires at once where nothing else can happen (A11)."""
        events: list[float] = []

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            start = trio.current_time()
            try:
                await trio.sleep(7200)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1000)
                events.append(trio.current_time() - start)

        generator = drive(source(), backend="trio", backend_options=self.clock(), timeout=3600)
        assert next(generator) == 1
        with pytest.raises(StepTimeoutError):
            next(generator)
        assert events == [3600 + 1000]
        assert list(generator) == []
        assert settled()

    def test_timeout_of_each_step(self) -> None:
        """Steps that take just less than the timeout are fine, however many (A11)."""

        async def source() -> AsyncGenerator[int, None]:
            for number in range(10):
                await trio.sleep(3599)
                yield number

        assert list(drive(source(), backend="trio", backend_options=self.clock(), timeout=3600)) == list(range(10))

    def test_sum_of_waits(self) -> None:
        """Several waits of one step add up: the one during which the time is over is cancelled (A11)."""
        waits: list[int] = []

        async def source() -> AsyncGenerator[int, None]:
            for number in range(10):
                waits.append(number)
                await trio.sleep(1000)
            yield 1

        with pytest.raises(StepTimeoutError):
            next(drive(source(), backend="trio", backend_options=self.clock(), timeout=3600))
        assert waits == [0, 1, 2, 3]

    def test_scope_of_the_body(self) -> None:
        """A scope held over a yield expires by the same clock, and is the body's own affair (A11)."""

        async def source() -> AsyncGenerator[str, None]:
            with trio.move_on_after(10) as scope:
                yield "inside"
                await trio.sleep(1000)
            yield f"cancelled: {scope.cancelled_caught}"

        items = list(drive(source(), backend="trio", backend_options=self.clock(), timeout=3600))
        assert items == ["inside", "cancelled: True"]

    def test_no_timeout_left_behind(self) -> None:
        """The deadline of one step is no deadline of the next one's, which may come much later (A11)."""

        async def source() -> AsyncGenerator[float, None]:
            await trio.sleep(1)
            yield trio.current_effective_deadline()
            await trio.sleep(3599)
            yield trio.current_effective_deadline()
            yield trio.current_time()

        clock = trio.testing.MockClock(autojump_threshold=0)
        with Runner(backend="trio", backend_options={"clock": clock}) as runner:
            generator = runner.drive(source(), timeout=3600)
            next(generator)
            runner.run(trio.sleep, 10000)
            next(generator)
            runner.run(trio.sleep, 10000)
            assert next(generator) == pytest.approx(clock.current_time())
            assert list(generator) == []


class TestOptions:
    """The options of trio.run, as anyio passes them on."""

    def test_clock(self) -> None:
        """`clock` is the run's clock (A11)."""
        clock = trio.testing.MockClock()

        async def source() -> AsyncGenerator[Any, None]:
            yield trio.lowlevel.current_clock()
            await trio.lowlevel.checkpoint()
            yield trio.lowlevel.current_clock()

        assert list(drive(source(), backend="trio", backend_options={"clock": clock})) == [clock, clock]

    def test_instruments(self) -> None:
        """`instruments` see the run begin and end, once each (A16)."""

        class Watch(trio.abc.Instrument):  # type: ignore[misc, name-defined]  # trio is what importorskip gave
            def __init__(self) -> None:
                self.events: list[str] = []

            def before_run(self) -> None:
                self.events.append("before")

            def after_run(self) -> None:
                self.events.append("after")

        watch = Watch()

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            await trio.sleep(0)
            yield 2

        assert list(drive(source(), backend="trio", backend_options={"instruments": [watch]})) == [1, 2]
        assert watch.events == ["before", "after"]

    def test_strict_exception_groups(self) -> None:
        """`strict_exception_groups=False` makes a nursery give a single exception as it is (A9)."""

        async def source() -> AsyncGenerator[int, None]:
            async with trio.open_nursery():
                yield 1
                raise LookupError

        generator = drive(source(), backend="trio")
        assert next(generator) == 1
        with pytest.raises(ExceptionGroup):
            next(generator)
        generator = drive(source(), backend="trio", backend_options={"strict_exception_groups": False})
        with pytest.warns(trio.TrioDeprecationWarning, match="strict_exception_groups"):
            assert next(generator) == 1
        with pytest.raises(LookupError):
            next(generator)

    def test_unknown_option(self) -> None:
        """An option that the backend does not have is a TypeError at once that lists those that it has (A14)."""

        async def source() -> AsyncGenerator[int, None]:
            yield 1

        with pytest.raises(TypeError) as caught:
            drive(source(), backend="trio", backend_options={"use_uvloop": True})
        message = str(caught.value)
        assert "'trio'" in message
        assert "'use_uvloop'" in message
        for known in ("clock", "instruments", "restrict_keyboard_interrupt_to_checkpoints", "strict_exception_groups"):
            assert known in message

    def test_every_option_of_anyio(self) -> None:
        """What anyio takes for trio is taken: the options of trio.run that a guest run has, too (A14)."""
        from asyncgen_tools.loops.trio_hosts import run_options

        own = {"async_fn", "args", "run_sync_soon_threadsafe", "done_callback", "host_uses_signal_set_wakeup_fd"}
        known = set(inspect.signature(trio.lowlevel.start_guest_run).parameters) - own
        offered = set(inspect.signature(run_options).parameters)
        assert offered == {name for name in known if name != "run_sync_soon_not_threadsafe"}


class TestOtherLibraries:
    """What is not trio's is a clear error."""

    def test_awaitable_of_asyncio(self) -> None:
        """A body that waits for something of asyncio's gets a TypeError there, with a hint; it may catch it (A14)."""
        import asyncio

        async def source() -> AsyncGenerator[str, None]:
            for number in range(2):
                if number:
                    await trio.sleep(0)
                with pytest.raises(TypeError):
                    await asyncio.sleep(0)
                yield "refused"

        assert list(drive(source(), backend="trio")) == ["refused"] * 2
        assert settled()

    def test_hint(self) -> None:
        """The error says what was awaited and which backend to write (A14)."""
        import asyncio

        async def source() -> AsyncGenerator[int, None]:
            await asyncio.sleep(0)
            yield 1

        with pytest.raises(TypeError, match=r"source waits for None.*backend='asyncio'"):
            next(drive(source(), backend="trio"))
        assert settled()


class TestMissing:
    """Without trio, or with one that has changed inside."""

    @pytest.fixture(autouse=True)
    def reload(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the loop's module be imported anew within the test, and be the old one afterwards."""
        drive(self.source(), backend="trio")
        monkeypatch.delitem(sys.modules, "asyncgen_tools.loops.trio_loop")
        monkeypatch.delitem(sys.modules, "asyncgen_tools.loops.trio_hosts")

    async def source(self) -> AsyncGenerator[int, None]:
        """Yield 1."""
        yield 1

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without trio, `backend="trio"` is an ImportError, at once, that says what to install (A14)."""
        monkeypatch.setitem(sys.modules, "trio", None)
        for use in (lambda: drive(self.source(), backend="trio"), lambda: Runner(backend="trio")):
            with pytest.raises(MissingLibraryError) as caught:
                use()
            assert isinstance(caught.value, ImportError)
            assert "trio, which is not installed" in str(caught.value)
            assert "asyncgen_tools[trio]" in str(caught.value)
        monkeypatch.undo()
        assert list(drive(self.source(), backend="trio")) == [1]

    def test_not_installed_for_a_portal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same for a portal, whose loop is another module (A14)."""
        monkeypatch.delitem(sys.modules, "asyncgen_tools.loops.trio_background", raising=False)
        monkeypatch.setitem(sys.modules, "trio", None)
        with pytest.raises(MissingLibraryError, match="trio, which is not installed"):
            Portal(backend="trio")

    @pytest.mark.parametrize("name", ["_abort_func", "_attempt_delivery_of_any_pending_cancel", "_cancel_points"])
    def test_task_has_changed(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A trio whose tasks lack a private name that is needed is an ImportError that names it and trio's version
        (A14).
        """
        monkeypatch.delattr(trio._core._run.Task, name)
        with pytest.raises(MissingLibraryError) as caught:
            drive(self.source(), backend="trio")
        message = str(caught.value)
        assert name in message
        assert trio.__version__ in message
        assert "older trio" in message

    def test_runner_has_changed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same for the run itself (A14)."""
        monkeypatch.delattr(trio._core._run.Runner, "io_manager")
        with pytest.raises(MissingLibraryError, match="Runner has no io_manager"):
            drive(self.source(), backend="trio")

    def test_state_has_changed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A trio that keeps its thread state elsewhere is an ImportError that names what is missing (A14)."""
        monkeypatch.delattr(trio._core._run, "GLOBAL_RUN_CONTEXT")
        with pytest.raises(MissingLibraryError, match="GLOBAL_RUN_CONTEXT"):
            drive(self.source(), backend="trio")


def test_private_names_are_in_one_place() -> None:
    """What is private in trio is named only in the four functions that the module names (A14)."""
    from asyncgen_tools.loops import trio_background, trio_hosts, trio_loop

    source = "".join(inspect.getsource(module) for module in (trio_background, trio_hosts, trio_loop))
    assert "private_names" in source
    private = (trio_hosts.private_names, trio_hosts.block, trio_hosts.break_off_wait, trio_hosts.close_descriptors)
    for function in private:
        source = source.replace(inspect.getsource(function), "")
    task_names = r"\b_abort_func|_cancel_points|_attempt_delivery\w*|_cancel_status|_runner\b"
    task_names += r"|entry_queue|guest_tick_scheduled|io_manager"
    names = r".*trio\._(?!_).*|.*GLOBAL_RUN_CONTEXT.*|" + task_names
    assert re.findall(names, source) == []


def test_library_name_of_the_caller() -> None:
    """After each step sniffio's name of the thread's library is what it was before, whatever the step did (A13)."""
    from sniffio import current_async_library, thread_local

    async def source() -> AsyncGenerator[str, None]:
        for number in range(4):
            yield current_async_library()
            if number % 2:
                await trio.sleep(0)
        raise LookupError

    generator = drive(source(), backend="trio")
    try:
        for name in ("outer", None, "other", "other", None):
            thread_local.name = name
            with suppress(LookupError):
                assert next(generator) == "trio"
            assert thread_local.name == name
    finally:
        thread_local.name = None
    assert settled()


def test_threads_of_guest_mode() -> None:
    """Steps that never wait for time or sockets start no thread at all (A18)."""
    script = """
    async def source():
        for number in range(300):
            if number % 3 == 0:
                await trio.sleep(0)
            yield number
    with Runner(**BACKEND) as runner:
        for one, two in zip(runner.drive(source()), runner.drive(source())):
            assert threading.active_count() == 1, threading.enumerate()
    assert threading.active_count() == 1
    """
    from tests.conftest import BACKENDS

    backend = next(backend for backend in BACKENDS if backend.id == "trio")
    child = run_child(script, backend)
    assert (child.status, child.out, child.err) == (0, [], [])


def test_waits_count_as_checkpoints() -> None:
    """What a step waits for first is a checkpoint to trio, too: `trio.testing.assert_checkpoints` finds it."""

    async def source() -> AsyncGenerator[int, None]:
        for number in range(2):
            with trio.testing.assert_checkpoints():
                await trio.sleep(0.001)
            yield number

    assert list(drive(source(), backend="trio")) == [0, 1]


@pytest.mark.parametrize("what", ["scope", "nursery"])
@pytest.mark.parametrize("kind", [Runner, Portal])
def test_scope_that_is_never_left(kind: Any, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that ends inside of a scope of its own is told to sys.unraisablehook; others go on (A4, A9)."""
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        if what == "scope":
            trio.CancelScope().__enter__()
        else:
            await trio.open_nursery().__aenter__()

    async def other() -> AsyncGenerator[int, None]:
        for number in range(3):
            await trio.sleep(0)
            yield number

    with kind(backend="trio") as runner:
        going_on = runner.drive(other())
        assert next(going_on) == 0
        assert list(runner.drive(source())) == [1]
        assert list(going_on) == [1, 2]
    assert [args.exc_type for args in told] == [RuntimeError]
    assert "stack corrupted" in str(told[0].exc_value)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="file descriptors are counted in /proc")
def test_descriptors_of_a_run_that_is_given_up() -> None:
    """A generator that its thread has left open keeps no file descriptor when it is dropped elsewhere (A8, A18)."""
    script = """
    async def rows():
        yield 1
    def work():
        held.append(drive(rows(), **BACKEND))
        next(held[0])
    def descriptors():
        return len(os.listdir("/proc/self/fd"))
    held = []
    before = descriptors()
    for _ in range(5):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        held.clear()
        gc.collect()
    say(descriptors() - before)
    async def again():
        await sleep(0)
        yield 1
    say(list(drive(again(), **BACKEND)))
    """
    from tests.conftest import BACKENDS

    backend = next(backend for backend in BACKENDS if backend.id == "trio")
    child = run_child(script, backend, forked=True)
    assert (child.status, child.out, child.err) == (0, ["0", "[1]"], [])
