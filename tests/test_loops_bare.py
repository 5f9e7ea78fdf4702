"""What is particular to the bare loop: it has no options, nothing may wait, and it finalises async generators
itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import Runner, delegating, drive, yield_from
from asyncgen_tools.errors import BareSuspensionError, StepTimeoutError, UnknownBackendError
from asyncgen_tools.loops.bare_loop import CHECKPOINT, checkpoint
from tests.thread_state import settled
from tests.ways import without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


class Pause:
    """Something to wait for that no loop knows."""

    def __await__(self) -> Generator[str, None, None]:
        yield "a message to nobody"


class TestSuspension:
    """A step that waits is an error, where it waits."""

    @pytest.mark.parametrize("first", [True, False])
    def test_error(self, first: bool) -> None:
        """A step that waits is BareSuspensionError, which names generator, message and the backends to write (A14)."""

        async def source() -> AsyncGenerator[int, None]:
            if not first:
                yield 1
            await Pause()
            yield 2

        generator = drive(source(), backend="bare")
        if not first:
            assert next(generator) == 1
        with pytest.raises(BareSuspensionError) as caught:
            next(generator)
        assert isinstance(caught.value, RuntimeError)
        message = str(caught.value)
        assert "source waits for 'a message to nobody' of type str" in message
        assert "backend='asyncio'" in message
        assert "backend='trio'" in message
        assert list(generator) == []
        assert settled()

    def test_traceback_shows_the_wait(self) -> None:
        """The error is raised at the await itself, so that its traceback ends in the source's code (A9)."""

        async def helper() -> None:
            await Pause()

        async def source() -> AsyncGenerator[int, None]:
            await helper()
            yield 1

        with pytest.raises(BareSuspensionError) as caught:
            next(drive(source(), backend="bare"))
        names = [entry.name for entry in caught.traceback]
        assert "helper" in names
        assert "source" in names

    def test_body_may_catch_it(self) -> None:
        """A body may catch the error and yield on; cleanup that does not wait runs (A14)."""
        events: list[str] = []

        async def source() -> AsyncGenerator[str, None]:
            try:
                with pytest.raises(BareSuspensionError):
                    await Pause()
                yield "caught"
                await Pause()
            finally:
                events.append("cleaned up")

        generator = drive(source(), backend="bare")
        assert next(generator) == "caught"
        with pytest.raises(BareSuspensionError):
            next(generator)
        assert events == ["cleaned up"]

    def test_body_that_waits_again_and_again(self) -> None:
        """A body that answers the error by waiting again gets it again, and cannot make the step hang (A14)."""
        times = 0

        async def source() -> AsyncGenerator[str, None]:
            nonlocal times
            for _ in range(5):
                with pytest.raises(BareSuspensionError):
                    await Pause()
                times += 1
            yield "tired"

        assert list(drive(source(), backend="bare")) == ["tired"]
        assert times == 5

    def test_cleanup_that_waits(self) -> None:
        """Cleanup that waits is BareSuspensionError out of close (A14)."""

        async def source() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await Pause()

        generator = drive(source(), backend="bare")
        assert next(generator) == 1
        with pytest.raises(BareSuspensionError):
            generator.close()
        generator.close()
        assert settled()

    def test_asyncio_is_not_running(self) -> None:
        """What needs a loop finds none: asyncio.sleep(0) waits for nothing that could come, and tasks cannot be made
        (A14).
        """

        async def source() -> AsyncGenerator[int, None]:
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            yield 1
            await asyncio.sleep(0)

        generator = drive(source(), backend="bare")
        assert next(generator) == 1
        with pytest.raises(BareSuspensionError, match="waits for None"):
            next(generator)

    def test_checkpoint(self) -> None:
        """What stands for a checkpoint in the testing kit suspends the step once, and is resumed at once (A14)."""

        async def source() -> AsyncGenerator[int, None]:
            await checkpoint()
            yield 1
            await checkpoint()

        first: Any = checkpoint()
        assert next(first) is CHECKPOINT
        assert list(first) == []
        assert list(drive(source(), backend="bare")) == [1]

    def test_timeout_has_nothing_to_cut(self) -> None:
        """A timeout is taken, and never expires, since nothing ever waits (A11)."""

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            yield 2

        assert list(drive(source(), backend="bare", timeout=1e-9)) == [1, 2]
        assert issubclass(StepTimeoutError, TimeoutError)


@pytest.mark.asyncgen_leaks("off")  # it leaks on purpose
class TestFinalisation:
    """Async generators that a body starts and leaves."""

    @pytest.mark.parametrize("steps_before", [0, 1, 2])
    def test_left_open(self, steps_before: int) -> None:
        """What a body still holds is closed with the runner, which tells of errors; the others are closed as well
        (A7).
        """
        events: list[str] = []
        held: list[Any] = []

        async def rows(name: str) -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                events.append(name)
                if name == "bad":
                    raise LookupError(name)

        async def source() -> AsyncGenerator[int, None]:
            for _ in range(steps_before):
                yield 0
            for name in ("one", "bad", "two"):
                held.append(rows(name))
                await anext(held[-1])
            yield 1

        runner = Runner(backend="bare")
        assert list(runner.drive(source())) == [0] * steps_before + [1]
        assert events == []
        with pytest.raises(BaseExceptionGroup) as caught:
            runner.close()
        assert sorted(events) == ["bad", "one", "two"]
        assert caught.group_contains(LookupError, match="bad")
        runner.close()
        assert settled()

    def test_left_open_and_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A dropped inner generator whose cleanup waits is told to sys.unraisablehook, since nothing can end it
        (A7).
        """
        told: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", told.append)

        async def rows() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await Pause()

        async def source() -> AsyncGenerator[int, None]:
            await anext(rows())
            yield 1

        assert list(drive(source(), backend="bare")) == [1]
        gc.collect()
        assert [args.exc_type for args in told] == [BareSuspensionError]
        assert settled()

    @pytest.mark.parametrize("steps_before", [1, 2])
    def test_left_open_by_the_caller(self, steps_before: int) -> None:
        """What the caller starts between two steps is none of the loop's business (A7)."""

        async def rows() -> AsyncGenerator[int, None]:
            yield 1
            yield 2

        generator = drive(rows(), backend="bare")
        for _ in range(steps_before):
            next(generator)
        mine: Any = rows()
        with pytest.raises(StopIteration):
            mine.asend(None).send(None)
        generator.close()
        assert mine.ag_frame is not None
        with pytest.raises(StopIteration):
            mine.aclose().send(None)
        assert settled()

    def test_hooks_of_the_caller(self) -> None:
        """Hooks that the caller installs between two steps are not for what a body starts in the next ones (A7)."""
        seen: list[Any] = []

        async def rows() -> AsyncGenerator[int, None]:
            yield 1

        async def source() -> AsyncGenerator[int, None]:
            for _ in range(3):
                held = rows()
                yield await anext(held)
                await held.aclose()

        generator = drive(source(), backend="bare")
        assert next(generator) == 1
        sys.set_asyncgen_hooks(seen.append, seen.append)
        try:
            assert list(generator) == [1, 1]
            assert sys.get_asyncgen_hooks() == (seen.append, seen.append)
        finally:
            sys.set_asyncgen_hooks(None, None)
        assert seen == []
        assert settled()

    @pytest.mark.parametrize("depth", [0, 2])
    @pytest.mark.parametrize("collections", [0, 1, 2])
    def test_garbage_is_closed_in_its_context(self, depth: int, collections: int) -> None:
        """What the collector finds together with its generator ends in that one's context, where it began, whatever is
        finalised first (A4, A8).
        """
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
        closed: list[str] = []

        @asynccontextmanager
        async def setting(name: str) -> AsyncGenerator[None]:
            token = variable.set(1)
            try:
                yield
            finally:
                variable.reset(token)
                closed.append(name)

        async def source() -> AsyncGenerator[int]:
            async with setting("outer"), setting("inner"):
                yield 1

        @delegating
        async def through(depth: int) -> AsyncGenerator[int]:
            await yield_from(through(depth - 1) if depth > 1 else source())
            if depth < 0:
                yield 0  # which makes it an async generator

        with without_collector():
            # The thread's hooks keep the loop of the last one.
            cycle: list[Any] = [drive(through(depth) if depth else source(), backend="bare") for _ in range(3)]
            assert [next(generator) for generator in cycle] == [1, 1, 1]
            cycle.append(cycle)
            for _ in range(collections):  # each turns the order of what is tracked
                gc.collect()
            del cycle
            gc.collect()
            gc.collect()
        assert closed == ["inner", "outer"] * 3
        assert settled()


class TestOptions:
    """There are none."""

    async def source(self) -> AsyncGenerator[int, None]:
        """Yield 1."""
        yield 1

    def test_unknown_option(self) -> None:
        """Any option is a TypeError that names it (A14)."""
        with pytest.raises(TypeError, match="backend='bare' has no option 'debug'"):
            drive(self.source(), backend="bare", backend_options={"debug": True})

    @pytest.mark.parametrize("name", ["curio", "uvloop", "", "Asyncio"])
    def test_unknown_backend(self, name: str) -> None:
        """A backend that there is not is a LookupError, at once, that lists those that there are, and how uvloop is had
        (A14).
        """
        for use in (lambda: drive(self.source(), backend=name), lambda: Runner(backend=name)):
            with pytest.raises(UnknownBackendError) as caught:
                use()
            assert isinstance(caught.value, LookupError)
            message = str(caught.value)
            assert repr(name) in message
            for known in ("'asyncio'", "'trio'", "'bare'", "{'use_uvloop': True}"):
                assert known in message

    def test_runner(self) -> None:
        """A runner on the bare backend runs coroutine functions that do not wait (A16)."""

        async def double(number: int) -> int:
            return 2 * number

        with Runner(backend="bare") as runner:
            assert runner.run(double, 21) == 42
            with pytest.raises(BareSuspensionError):
                runner.run(asyncio.sleep, 0)
            assert list(runner.drive(self.source())) == [1]
        assert settled()


def test_loads_nothing() -> None:
    """Driving on the bare backend imports neither asyncio nor trio nor anyio nor threading's users of sockets (A14)."""
    script = """
import sys
before = set(sys.modules)  # a measurement of coverage has its own
from asyncgen_tools import drive

async def source():
    yield 1

assert list(drive(source(), backend="bare")) == [1]
print(sorted({"asyncio", "trio", "anyio", "socket", "selectors", "uvloop", "sniffio"} & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
