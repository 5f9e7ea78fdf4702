"""virtual_time: the clock jumps when nothing else can run, and only then."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import Portal, Runner, drive
from asyncgen_tools.errors import MissingLibraryError, UnknownBackendError
from asyncgen_tools.testing import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

YEAR = 365 * 24 * 3600.0


@pytest.fixture(params=["asyncio", "trio"])
def library(request: pytest.FixtureRequest) -> str:
    """A library with virtual time."""
    name: str = request.param
    if name == "trio":
        pytest.importorskip("trio", reason="trio is not installed")
    return name


def runner_on(library: str, **options: Any) -> Runner:
    """A runner with virtual time."""
    return Runner(backend=library, backend_options=virtual_time(library, **options))


async def daily(times: int) -> AsyncGenerator[float, None]:
    """The time, once a day."""
    for _ in range(times):
        await anyio.sleep(24 * 3600)
        yield anyio.current_time()


def test_a_year_of_sleeps(library: str) -> None:
    """A year of days, slept one by one, is over in under 0.1 s, and the clock has moved by a year."""

    def year() -> float:
        with runner_on(library) as runner, runner.drive(daily(365)) as days:
            assert next(days) == 24 * 3600
            begun = time.thread_time()  # of this thread alone: other processes are not what is measured
            assert list(days)[-1] == YEAR
            return time.thread_time() - begun

    assert min(year() for _ in range(3)) < (0.1 if sys.gettrace() is None else 1)  # a tracer takes its time


def test_a_portal_takes_it(library: str) -> None:
    """A portal's loop, in its own thread, has virtual time as well; its generators and calls share the clock."""
    with Portal(backend=library, backend_options=virtual_time(library)) as portal:
        with portal.drive(daily(3)) as days:
            assert [next(days), next(days)] == [24 * 3600, 2 * 24 * 3600]
            portal.run(anyio.sleep, 24 * 3600)
            assert next(days) == 4 * 24 * 3600
        begun = time.thread_time()
        assert list(portal.drive(daily(365)))[-1] == YEAR + 4 * 24 * 3600
        assert time.thread_time() - begun < 1  # of this thread, which waits for the other


def test_one_long_sleep(library: str) -> None:
    """A single sleep of a hundred years ends at its deadline, not one jump earlier or later."""

    async def sleep() -> float:
        await anyio.sleep(100 * YEAR)
        return anyio.current_time()

    with runner_on(library) as runner:
        assert runner.run(sleep) == 100 * YEAR


def test_timers_fire_in_order(library: str) -> None:
    """Timers of several tasks fire in the order of their deadlines, each at its own time."""
    log: list[tuple[str, float]] = []

    async def tick(name: str, every: float) -> None:
        for _ in range(3):
            await anyio.sleep(every)
            log.append((name, anyio.current_time()))

    async def both() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(tick, "slow", 50)
            group.start_soon(tick, "quick", 20)

    with runner_on(library) as runner:
        runner.run(both)
    assert log == [("quick", 20), ("quick", 40), ("slow", 50), ("quick", 60), ("slow", 100), ("slow", 150)]


def test_timeouts_fire(library: str) -> None:
    """A timeout held over a yield fires when its virtual time has come, and not before."""

    async def source() -> AsyncGenerator[float, None]:
        with anyio.move_on_after(3600):
            while True:
                await anyio.sleep(1000)
                yield anyio.current_time()

    assert list(drive(source(), backend=library, backend_options=virtual_time(library))) == [1000, 2000, 3000]


def test_time_stands_still_while_something_runs(library: str) -> None:
    """While a task can run, no time passes, however many turns it takes."""

    async def busy() -> float:
        now = -1.0
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1000)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            now = anyio.current_time()
            group.cancel_scope.cancel()
        return now

    with runner_on(library) as runner:
        assert runner.run(busy) == 0


def test_waiting_for_a_socket_is_real(library: str) -> None:
    """Without a timer, the loop waits for a socket as long as it takes; no virtual time passes."""
    ours, theirs = socket.socketpair()
    told = threading.Event()

    def answer() -> None:
        told.wait(10)
        theirs.sendall(b"x")

    async def read() -> tuple[bytes, float]:
        ours.setblocking(False)
        told.set()
        await anyio.wait_readable(ours)
        return ours.recv(1), anyio.current_time()

    thread = threading.Thread(target=answer)
    thread.start()
    with ours, theirs, runner_on(library) as runner:
        assert runner.run(read) == (b"x", 0)
    thread.join(10)


def test_what_is_ready_comes_before_a_timer(library: str) -> None:
    """What a socket has ready is read before the clock jumps to a timeout."""
    ours, theirs = socket.socketpair()

    async def read() -> tuple[bytes, float]:
        ours.setblocking(False)
        theirs.sendall(b"x")
        with anyio.fail_after(5):
            await anyio.wait_readable(ours)
        return ours.recv(1), anyio.current_time()

    with ours, theirs, runner_on(library) as runner:
        assert runner.run(read) == (b"x", 0)


def test_without_a_timer_the_loop_sleeps() -> None:
    """Where nothing but a thread is waited for, the loop looks a few times and sleeps; trio's own clock would spin."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    looks: list[float] = []

    class Watch(trio.abc.Instrument):  # type: ignore[name-defined, misc, unused-ignore]
        def before_io_wait(self, timeout: float) -> None:
            looks.append(timeout)

    options = virtual_time("trio") | {"instruments": [Watch()]}
    with Runner(backend="trio", backend_options=options) as runner:
        runner.run(anyio.to_thread.run_sync, partial(threading.Event().wait, 0.05))
    assert 0 < len(looks) < 100


def test_patience_waits_for_threads(library: str) -> None:
    """With patience, what another thread does in real time comes before a timer that is set."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.wait(10)
        go_on.wait(0.02)  # real time, in which nothing happens in the loop
        return "done"

    async def wait() -> tuple[str, float]:
        with anyio.fail_after(3600):
            begun.set()
            return await anyio.to_thread.run_sync(work), anyio.current_time()

    with runner_on(library, patience=5.0) as runner:
        assert runner.run(wait) == ("done", 0)


def test_without_patience_a_timer_comes_before_a_thread(library: str) -> None:
    """Without patience, a timer fires although a thread is still at work: its time is not the loop's."""
    release = threading.Event()

    async def wait() -> float:
        with anyio.move_on_after(3600):
            await anyio.to_thread.run_sync(release.wait, 10, abandon_on_cancel=True)
        release.set()
        return anyio.current_time()

    with runner_on(library) as runner:
        assert runner.run(wait) == 3600


def test_anyio_takes_it(library: str) -> None:
    """The options are those of anyio, which means what we mean by them."""

    async def sleep() -> float:
        await anyio.sleep(3600)
        return anyio.current_time()

    assert anyio.run(sleep, backend=library, backend_options=virtual_time(library)) == 3600


def test_asyncio_takes_it() -> None:
    """The loop is one that asyncio.Runner takes as well; call_at and executors work on it."""

    async def scenario() -> tuple[float, str]:
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        loop.call_at(77.5, fired.set)
        await fired.wait()
        return loop.time(), await loop.run_in_executor(None, str, "done")

    with asyncio.Runner(loop_factory=virtual_time("asyncio")["loop_factory"]) as runner:
        assert runner.run(scenario()) == (77.5, "done")


def test_each_loop_has_its_own_clock() -> None:
    """Two runners with virtual time do not share their time."""

    async def sleep() -> float:
        await anyio.sleep(3600)
        return anyio.current_time()

    options = virtual_time("asyncio")
    for _ in range(2):
        with Runner(backend_options=options) as runner:
            assert runner.run(sleep) == 3600


def test_bare_has_no_time() -> None:
    """`bare` takes no options, so that a test on all backends may ask for virtual time."""
    assert virtual_time("bare") == {}


def test_unknown_backend() -> None:
    """An unknown name is an error that says what there is, and why uvloop is not among it."""
    with pytest.raises(UnknownBackendError, match=r"'uvloop' with virtual time.*its own clock"):
        virtual_time("uvloop")


def test_trio_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without trio its clock is a MissingLibraryError that says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "trio.testing", None)
    with pytest.raises(MissingLibraryError, match=r"asyncgen_tools\[trio\]"):
        virtual_time("trio")
