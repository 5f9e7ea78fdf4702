"""What is particular to the asyncio loop: its options, uvloop, debug mode, counts of cancellation."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import Runner, drive
from asyncgen_tools.errors import MissingLibraryError, StepTimeoutError
from asyncgen_tools.loops.asyncio_hosts import dropped_generators, in_cancelled_scope
from tests.children import run_child
from tests.conftest import BRIEF
from tests.thread_state import settled
from tests.ways import without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.conftest import Backend


@pytest.fixture
def backend(backend: Backend) -> Backend:
    """The backend of this run, where it is an asyncio one."""
    if backend.name != "asyncio":
        pytest.skip("about asyncio")
    return backend


async def loops() -> AsyncGenerator[asyncio.AbstractEventLoop, None]:
    """Yield the running loop, from borrowed and from suspended steps."""
    yield asyncio.get_running_loop()
    await asyncio.sleep(0)
    yield asyncio.get_running_loop()
    await asyncio.sleep(0.001)
    yield asyncio.get_running_loop()


class TestOptions:
    """The options of anyio's asyncio backend, with their meaning."""

    def test_loop_of_the_options(self, backend: Backend) -> None:
        """The loop is asyncio's own, or uvloop's with `use_uvloop`; it is one and the same throughout, then closed
        (A16).
        """
        first, second, third = backend.drive(loops())
        assert first is second is third
        assert (type(first).__module__.partition(".")[0] == "uvloop") == ("use_uvloop" in backend.options)
        assert first.is_closed()
        assert settled()

    def test_loop_factory(self) -> None:
        """`loop_factory` makes the loop, once, when the loop opens; the loop is closed at the end (A14)."""
        made: list[asyncio.AbstractEventLoop] = []

        def factory() -> asyncio.AbstractEventLoop:
            made.append(asyncio.new_event_loop())
            return made[-1]

        generator = drive(loops(), backend_options={"loop_factory": factory})
        assert made == []
        assert list(generator) == [made[0]] * 3
        assert len(made) == 1
        assert made[0].is_closed()
        with Runner(backend_options={"loop_factory": factory}) as runner:
            assert list(runner.drive(loops())) == list(runner.drive(loops())) == [made[1]] * 3
        assert len(made) == 2
        assert made[1].is_closed()

    def test_loop_factory_before_uvloop(self) -> None:
        """As in anyio, a `loop_factory` that is given is used also if `use_uvloop` is set (A14)."""
        made: list[asyncio.AbstractEventLoop] = []

        def factory() -> asyncio.AbstractEventLoop:
            made.append(asyncio.new_event_loop())
            return made[-1]

        pytest.importorskip("uvloop")
        generator = drive(loops(), backend_options={"loop_factory": factory, "use_uvloop": True})
        assert list(generator) == made * 3
        assert len(made) == 1

    def test_failing_loop_factory(self) -> None:
        """What a `loop_factory` raises comes out of the first step, and leaves the thread as it was (A13)."""

        def factory() -> asyncio.AbstractEventLoop:
            raise LookupError("no loop today")

        generator = drive(loops(), backend_options={"loop_factory": factory})
        with pytest.raises(LookupError, match="no loop today"):
            next(generator)
        assert settled()
        generator.close()
        assert settled()

    def test_failing_loop_factory_of_a_runner(self) -> None:
        """What a `loop_factory` raises comes out of `with Runner`, which can be closed all the same (A13)."""

        def factory() -> asyncio.AbstractEventLoop:
            raise LookupError("no loop today")

        runner = Runner(backend_options={"loop_factory": factory})
        with pytest.raises(LookupError, match="no loop today"):
            runner.__enter__()
        with pytest.raises(LookupError, match="no loop today"):
            runner.run(asyncio.sleep, 0)
        runner.close()
        assert settled()

    def test_debug(self, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
        """In debug mode everything works, asyncio's own checks are on, and they find nothing to complain of (A13)."""
        with Runner(backend_options={**backend.options, "debug": True}) as runner:

            async def source() -> AsyncGenerator[bool, None]:
                for _ in range(200):
                    yield asyncio.get_running_loop().get_debug()
                    await asyncio.sleep(0)
                    yield asyncio.get_running_loop().get_debug()
                task = asyncio.create_task(asyncio.sleep(0.001))
                yield asyncio.get_running_loop().get_debug()
                await task

            assert set(runner.drive(source())) == {True}
            generator = runner.drive(source())
            assert next(generator) is True
            generator.close()
        assert [record for record in caplog.records if "took" not in record.message] == []
        assert settled()

    def test_not_debug(self, backend: Backend) -> None:
        """`debug=False` switches it off even where the environment has it on (A14)."""
        script = """
        async def source():
            yield asyncio.get_running_loop().get_debug()
        say(list(drive(source(), **BACKEND)))
        BACKEND["backend_options"] = {**BACKEND["backend_options"], "debug": False}
        say(list(drive(source(), **BACKEND)))
        """
        child = run_child(script, backend, flags=("-Xdev",))
        assert (child.status, child.out, child.err) == (0, ["[True]", "[False]"], [])

    @pytest.mark.parametrize("name", ["drive", "Runner"])
    def test_unknown_option(self, name: str) -> None:
        """An option that the backend does not have is a TypeError at once that lists those that it has (A14)."""
        with pytest.raises(TypeError) as caught:
            if name == "drive":
                drive(loops(), backend_options={"use_uvlop": True})
            else:
                Runner(backend_options={"use_uvlop": True})
        message = str(caught.value)
        assert "'asyncio'" in message
        assert "'use_uvlop'" in message
        assert "debug, loop_factory, use_uvloop" in message

    def test_options_are_not_kept(self) -> None:
        """The mapping of options is neither changed nor looked at later (A14)."""
        options: dict[str, Any] = {"debug": True}
        runner = Runner(backend_options=options)
        options["nonsense"] = 1
        with runner:
            assert runner.run(debug_mode) is True
        assert options == {"debug": True, "nonsense": 1}

    def test_uvloop_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`use_uvloop` without uvloop is an ImportError, at once, that says what to install (A14)."""
        monkeypatch.setitem(sys.modules, "uvloop", None)
        with pytest.raises(MissingLibraryError) as caught:
            drive(loops(), backend_options={"use_uvloop": True})
        assert isinstance(caught.value, ImportError)
        assert "uvloop, which is not installed" in str(caught.value)
        assert "asyncgen_tools[uvloop]" in str(caught.value)
        assert len(list(drive(loops()))) == 3

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
    def test_eager_tasks(self) -> None:
        """A loop whose task factory is eager drives as well as any (A4)."""

        def factory() -> asyncio.AbstractEventLoop:
            loop = asyncio.new_event_loop()
            loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, arg-type, unused-ignore]
            return loop

        async def double(number: int) -> int:
            return 2 * number

        async def source() -> AsyncGenerator[int, None]:
            me = asyncio.current_task()
            for number in range(100):
                if number % 3 == 0:
                    await asyncio.sleep(0)
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(double(number))
                assert asyncio.current_task() is me
                yield task.result()

        with Runner(backend_options={"loop_factory": factory}) as runner:
            assert list(runner.drive(source())) == list(range(0, 200, 2))
            assert runner.run(double, 21) == 42
        assert settled()


async def debug_mode() -> bool:
    """Whether the running loop is in debug mode."""
    return asyncio.get_running_loop().get_debug()


class TestCancellation:
    """Asyncio counts requests for cancellation; ours are paired like anybody's."""

    def test_timeout_within_the_cleanup(self, backend: Backend) -> None:
        """The cleanup of a step that took too long may use asyncio.timeout, which fires and ends there (A11)."""
        events: list[Any] = []

        async def source() -> AsyncGenerator[int, None]:
            try:
                await asyncio.sleep(60)
                yield 1
            finally:
                try:
                    async with asyncio.timeout(0.01):
                        await asyncio.sleep(60)
                except TimeoutError:
                    events.append("gave up")
                await asyncio.sleep(0)
                events.append("cleaned up")

        with pytest.raises(StepTimeoutError):
            next(backend.drive(source(), timeout=0.02))
        assert events == ["gave up", "cleaned up"]

    def test_timeout_within_a_timeout(self, backend: Backend) -> None:
        """A step cut short inside the body's own, longer asyncio.timeout is ours and not that one's (A11)."""

        async def source() -> AsyncGenerator[int, None]:
            async with asyncio.timeout(60):
                yield 1
                await asyncio.sleep(60)

        generator = backend.steady().drive(source(), timeout=BRIEF)
        assert next(generator) == 1
        with pytest.raises(StepTimeoutError):
            next(generator)
        assert settled()

    def test_task_group_within_a_timeout(self, backend: Backend) -> None:
        """A step cut short in a TaskGroup cancels the group's tasks, and waits for them (A11)."""
        events: list[str] = []

        async def child() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                events.append("child cleaned up")

        async def source() -> AsyncGenerator[int, None]:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                yield 1
                await asyncio.sleep(60)

        generator = backend.steady().drive(source(), timeout=BRIEF)
        assert next(generator) == 1
        with pytest.raises(StepTimeoutError):
            next(generator)
        assert events == ["child cleaned up"]

    def test_count_in_the_cleanup(self, backend: Backend) -> None:
        """While the cleanup of a cancelled step runs, its task's count of requests is 1 (A11)."""
        counts: list[int] = []

        async def source() -> AsyncGenerator[int, None]:
            task = asyncio.current_task()
            assert task is not None
            counts.append(task.cancelling())
            try:
                await asyncio.sleep(60)
                yield 1
            finally:
                counts.append(task.cancelling())

        with pytest.raises(StepTimeoutError):
            next(backend.drive(source(), timeout=0.02))
        assert counts == [0, 1]

    @pytest.mark.parametrize("moved", [False, True])
    def test_cancelled_scope(self, moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """A cancelled scope of anyio is known as such, also where anyio no longer keeps its tasks in that place."""
        name = "anyio._backends._asyncio"
        found: list[bool] = []

        async def main() -> None:
            with anyio.CancelScope() as scope:
                found.append(in_cancelled_scope())
                scope.cancel()
                found.append(in_cancelled_scope())
            found.append(in_cancelled_scope())

        anyio.run(main)
        if moved:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        asyncio.run(main())
        assert found == [False, True, False] * 2


class TestTask:
    """The host is a real task of the loop."""

    def test_current_task(self, backend: Backend) -> None:
        """The body runs in one task, current in every step, not done before the end, and with a name that tells
        (A4).
        """

        async def source() -> AsyncGenerator[Any, None]:
            for number in range(4):
                if number % 2:
                    await asyncio.sleep(0)
                task = asyncio.current_task()
                assert task is not None
                assert task in asyncio.all_tasks()
                assert not task.done()
                yield task

        with backend.runner() as runner:
            tasks = list(runner.drive(source()))
            assert len(set(tasks)) == 1
            assert "source" in tasks[0].get_name()
            runner.run(asyncio.sleep, 0)
            assert tasks[0].done()
            assert not tasks[0].cancelled()

    def test_running_loop_refuses_to_run(self, backend: Backend) -> None:
        """Inside a step the loop counts as running: asyncio.run and run_until_complete are asyncio's own errors
        (A4).
        """

        async def source() -> AsyncGenerator[str, None]:
            for number in range(2):
                if number:
                    await asyncio.sleep(0)
                future = asyncio.get_running_loop().create_future()
                with pytest.raises(RuntimeError, match="running"):
                    asyncio.get_running_loop().run_until_complete(future)
                coroutine = asyncio.sleep(0)
                with pytest.raises(RuntimeError, match="running event loop"):
                    asyncio.run(coroutine)
                coroutine.close()
                yield "refused"

        assert list(backend.drive(source())) == ["refused"] * 2
        assert settled()

    def test_loop_closed_by_the_body(self, backend: Backend) -> None:
        """A body that stops the loop it runs in does no harm (A14)."""

        async def source() -> AsyncGenerator[int, None]:
            for number in range(5):
                asyncio.get_running_loop().stop()
                yield number
                asyncio.get_running_loop().stop()
                await asyncio.sleep(0)
                asyncio.get_running_loop().stop()
                await asyncio.sleep(0.001)

        assert list(backend.drive(source())) == [0, 1, 2, 3, 4]
        assert settled()

    def test_default_executor(self, backend: Backend) -> None:
        """What runs in the loop's default executor is waited for when the loop closes, and its threads end (A16)."""
        import threading

        async def source() -> AsyncGenerator[int, None]:
            yield await asyncio.to_thread(lambda: 1)
            yield await asyncio.get_running_loop().run_in_executor(None, lambda: 2)

        before = threading.active_count()
        assert list(backend.drive(source())) == [1, 2]
        assert threading.active_count() <= before  # idle ones of other tests may have ended

    def test_subprocess(self, backend: Backend) -> None:
        """A body may run a subprocess, in whatever way the loop watches its children (A4)."""

        async def source() -> AsyncGenerator[str, None]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print('one'); print('two')", stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            async for line in process.stdout:
                yield line.decode().strip()
            yield str(await process.wait())

        with warnings.catch_warnings():
            # asyncio's transports of a subprocess are collected late on some versions.
            warnings.simplefilter("ignore", ResourceWarning)
            assert list(backend.drive(source())) == ["one", "two", "0"]
            gc.collect()
        assert settled()

    def test_body_that_stops_the_loop(self, backend: Backend) -> None:
        """A body that stops its loop stops neither its steps nor the closing of the loop (A16)."""

        async def source() -> AsyncGenerator[int, None]:
            loop = asyncio.get_running_loop()
            for number in range(3):
                loop.stop()
                await asyncio.sleep(0.001)
                loop.call_soon(loop.stop)
                yield number

        assert list(backend.drive(source())) == [0, 1, 2]
        with backend.drive(source()) as generator:
            assert next(generator) == 0
        assert settled()

    def test_body_that_closes_the_loop(self, backend: Backend) -> None:
        """A body that closes its loop gets the loop's error where it is used next, and leaves nothing behind (A13)."""

        async def source() -> AsyncGenerator[bool, None]:
            yield True
            asyncio.get_running_loop().close()
            yield False

        generator = backend.drive(source())
        assert [next(generator), next(generator)] == [True, False]
        with pytest.raises(RuntimeError, match="closed"):
            next(generator)
        assert generator.gi_frame is None
        assert settled()


@pytest.mark.asyncgen_leaks("off")
@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("when", ["in the end", "in a cancelled task", "in a generator that is shut down"])
@pytest.mark.parametrize("portal", [False, True])
def test_dropped_generators_drop_others(backend: Backend, portal: bool, when: str, depth: int) -> None:
    """Async generators that are dropped while the loop ends, by the cleanup of others too, finish their own, which may
    wait, before it is closed (A7, A16).
    """
    closed: list[int] = []
    held: list[object] = []

    async def nested(depth: int) -> AsyncGenerator[int]:
        inner = nested(depth - 1) if depth else None
        try:
            if inner is not None:
                await anext(inner)
            yield depth
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            closed.append(depth)

    async def hold() -> None:
        generator = nested(depth)
        await anext(generator)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        if when == "in a cancelled task":
            held.append(asyncio.create_task(hold()))
            await asyncio.sleep(0.001)
        else:
            generator = nested(depth)
            await anext(generator)
            if when == "in a generator that is shut down":
                held.append(generator)

    with backend.portal() if portal else backend.runner() as driver:
        driver.run(main)
    assert sorted(closed) == [*range(depth + 1)]


def test_dropped_just_before_the_end() -> None:
    """A generator that was dropped so late that its closing is only scheduled is waited for as well (A8)."""
    closed: list[str] = []

    async def generator() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main() -> None:
        dropped = generator()
        await anext(dropped)
        del dropped
        await dropped_generators()
        assert closed == ["closed"]

    with without_collector():
        asyncio.run(main())
