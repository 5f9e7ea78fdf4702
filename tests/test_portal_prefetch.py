"""`Portal.drive(source, prefetch=N)`: at most N items ahead, in order, and everything else as in lock step."""

from __future__ import annotations

import asyncio
import threading
import weakref
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from asyncgen_tools.errors import PrefetchError
from tests.test_host_cancellation import turns, wait_for_event
from tests.test_portal import portal_fixture as portal_fixture  # noqa: PLC0414  # pytest finds it here
from tests.ways import ProbeError, caught, frames_of, without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from asyncgen_tools import Portal
    from tests.conftest import Backend


class Counted:
    """A source that counts what it has made; every `pause` items it suspends."""

    def __init__(self, backend: Backend, pause: int) -> None:
        self.backend, self.pause = backend, pause
        self.made = 0
        self.ended = False

    async def items(self, number: int = 1_000_000) -> AsyncGenerator[int, Any]:
        """Count from 0."""
        try:
            for item in range(number):
                if self.pause and item % self.pause == 0:
                    await self.backend.checkpoint()
                self.made += 1
                yield item
        finally:
            await self.backend.checkpoint()
            self.ended = True


PAUSES = pytest.mark.parametrize("pause", [0, 1, 5], ids=["at once", "suspends", "sometimes"])


@PAUSES
@pytest.mark.parametrize("prefetch", [1, 2, 64])
def test_never_further_ahead(portal: Portal, backend: Backend, prefetch: int, pause: int) -> None:
    """Nothing is made before the first step; then never more than N items than were consumed, in their order (A6)."""
    source = Counted(backend, pause)
    generator = portal.drive(source.items(), prefetch=prefetch)
    portal.run(turns, backend)
    assert source.made == 0
    for number in range(300):
        assert next(generator) == number
        assert source.made <= number + 1 + prefetch
    portal.run(turns, backend)
    assert source.made <= 300 + prefetch
    generator.close()
    assert source.ended


@PAUSES
def test_runs_ahead(portal: Portal, backend: Backend, pause: int) -> None:
    """While the consumer takes its time, N items are made (A6)."""
    source = Counted(backend, pause)
    generator = portal.drive(source.items(), prefetch=8)
    assert next(generator) == 0
    for _ in range(50):
        portal.run(turns, backend)
        if source.made >= 8:
            break
    assert source.made in {8, 9}
    assert [next(generator) for _ in range(20)] == list(range(1, 21))
    generator.close()


@PAUSES
@pytest.mark.parametrize("number", [0, 1, 7, 500])
@pytest.mark.parametrize("prefetch", [1, 3, 64])
def test_everything_arrives(portal: Portal, backend: Backend, prefetch: int, number: int, pause: int) -> None:
    """All items arrive, once, in order, and then the end does (A1)."""
    source = Counted(backend, pause)
    generator = portal.drive(source.items(number), prefetch=prefetch)
    assert list(generator) == list(range(number))
    assert source.ended
    assert list(generator) == []


@PAUSES
@pytest.mark.parametrize("prefetch", [1, 3, 64])
def test_error_in_its_place(portal: Portal, backend: Backend, prefetch: int, pause: int) -> None:
    """An error arrives after the items that came before it, the same object, with the source's frame (A9)."""
    raised = ProbeError()

    async def failing() -> AsyncGenerator[int, None]:
        for number in range(7):
            if pause:
                await backend.checkpoint()
            yield number
        raise raised

    generator = portal.drive(failing(), prefetch=prefetch)
    assert [next(generator) for _ in range(7)] == list(range(7))
    exc = caught(next, generator)
    assert exc is raised
    assert frames_of(exc)[-1] == "failing"
    assert frames_of(exc).count("(ours)") <= 2
    assert list(generator) == []


def test_early_close(portal: Portal, backend: Backend) -> None:
    """Closing breaks off the step that has run ahead; the cleanup may wait for what it likes (A8)."""
    log: list[str] = []
    waits = threading.Event()

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
            waits.set()
            await wait_for_event(backend)
        finally:
            await backend.sleep(0.001)
            log.append("cleaned up")

    generator = portal.drive(body(), prefetch=4)
    assert next(generator) == 1
    assert waits.wait(10)
    generator.close()
    assert log == ["cleaned up"]
    assert list(generator) == []


def test_early_close_of_what_cannot_be_broken_off(portal: Portal, backend: Backend) -> None:
    """A step that awaits a thread, or goes from checkpoint to checkpoint, is closed as well: nothing hangs (A8)."""
    ended: list[str] = []
    released = threading.Event()

    async def in_thread() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await anyio.to_thread.run_sync(released.wait, 10)
            await wait_for_event(backend)
        finally:
            ended.append("in a thread")

    async def spinning() -> AsyncGenerator[int, None]:
        try:
            yield 1
            while True:
                await backend.checkpoint()
        finally:
            ended.append("spinning")

    for source in (in_thread(), spinning()):
        generator = portal.drive(source, prefetch=2)
        next(generator)
        portal.run(turns, backend)
        threading.Timer(0.02, released.set).start()
        generator.close()
    assert ended == ["in a thread", "spinning"]


@pytest.mark.parametrize("turn", range(10))
def test_close_at_any_moment(portal: Portal, backend: Backend, turn: int) -> None:
    """However far ahead the source is when it is closed, its cleanup runs once, undisturbed (A8)."""
    source = Counted(backend, pause=turn % 4)
    generator = portal.drive(source.items(), prefetch=1 + turn)
    for number in range(turn):
        assert next(generator) == number
    generator.close()
    assert source.ended == (turn > 0)


def test_close_after_an_error_ahead(portal: Portal, backend: Backend) -> None:
    """What is only known because the source ran ahead is not raised at a consumer that stops before it (A6)."""

    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        yield 2
        raise ProbeError

    generator = portal.drive(failing(), prefetch=4)
    assert next(generator) == 1
    portal.run(turns, backend)
    generator.close()
    assert list(generator) == []


def test_send_and_throw_are_refused(portal: Portal, backend: Backend) -> None:
    """send(v) and throw are a clear error that loses nothing; send(None) is next (A6)."""
    source = Counted(backend, 0)
    generator = portal.drive(source.items(5), prefetch=2)
    with pytest.raises(PrefetchError, match=r"throw\(\) into .*prefetch=2"):
        generator.throw(ProbeError())
    assert next(generator) == 0
    with pytest.raises(PrefetchError, match=r"send\(\) into .*Leave prefetch out"):
        generator.send(1)
    with pytest.raises(PrefetchError):
        generator.throw(ProbeError())
    assert generator.send(None) == 1
    assert list(generator) == [2, 3, 4]


@pytest.mark.parametrize("done", [True, False])
def test_interrupt_while_the_source_is_set_off(
    portal: Portal, backend: Backend, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """Ctrl-C that strikes while the loop is told to run ahead closes the source, whether or not that was done (A10)."""
    source = Counted(backend, 0)
    portal.run(backend.checkpoint)
    loop: Any = portal._loop  # pyright: ignore[reportPrivateUsage]  # where the signal is to strike
    soon, goes_on, calls = loop.soon, threading.Event(), list[object]()

    def struck(callback: Callable[[], object]) -> bool:
        calls.append(callback)
        if len(calls) > 1:
            goes_on.set()
            return bool(soon(callback))
        if done:
            soon(partial(goes_on.wait, 20))  # until the interrupt was taken up
            soon(callback)
        raise KeyboardInterrupt

    generator = portal.drive(source.items(), prefetch=2)
    monkeypatch.setattr(loop, "soon", struck)
    with pytest.raises(KeyboardInterrupt):
        next(generator)
    goes_on.set()
    portal.run(turns, backend)
    assert list(generator) == []
    assert loop.hosts == {}
    assert source.ended or source.made == 0  # it was closed before its first step


def test_send_after_the_source_has_ended(portal: Portal, backend: Backend) -> None:
    """The same where the source has run ahead to its end: the refusal loses nothing (A6)."""
    generator = portal.drive(Counted(backend, 0).items(3), prefetch=8)
    assert next(generator) == 0
    portal.run(turns, backend)
    with pytest.raises(PrefetchError, match=r"send\(\) into "):
        generator.send(1)
    assert list(generator) == [1, 2]


def test_does_not_starve_the_loop(portal: Portal, backend: Backend) -> None:
    """A source that never suspends, made far ahead, leaves the loop its turns (A15)."""
    source = Counted(backend, 0)
    seen: list[int] = []

    async def watch() -> None:
        while source.made < 100_000:
            seen.append(source.made)
            await backend.checkpoint()

    generator = portal.drive(source.items(), prefetch=100_000)
    assert next(generator) == 0
    portal.run(watch)
    assert all(later - earlier <= 200 for earlier, later in pairwise(seen))
    generator.close()


@pytest.mark.parametrize("items", [0, 1, 2])
def test_error_is_not_kept(portal: Portal, items: int) -> None:
    """An error that came ahead is kept neither by a reference cycle nor by the generator (A9)."""

    class WatchedError(Exception):
        """Weak references can watch it."""

    async def failing() -> AsyncGenerator[int, None]:
        for item in range(items):
            yield item
        raise WatchedError

    generator = portal.drive(failing(), prefetch=2)
    assert [next(generator) for _ in range(items)] == list(range(items))

    def fail() -> weakref.ref[BaseException]:
        return weakref.ref(caught(next, generator))

    with without_collector():
        assert fail()() is None
    assert list(generator) == []


def test_cancelled_error_of_the_body(portal: Portal) -> None:
    """A CancelledError that the body raises by itself is an error like any other (A9)."""
    raised = asyncio.CancelledError()

    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise raised

    generator = portal.drive(failing(), prefetch=2)
    next(generator)
    assert caught(next, generator) is raised
