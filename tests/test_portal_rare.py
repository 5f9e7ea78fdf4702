"""What happens to portals rarely: several errors of cleanups, stubborn generators, hooks, waits of another library."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import Portal
from asyncgen_tools.errors import ClosedError, StepTimeoutError
from asyncgen_tools.testing import virtual_time
from tests.test_host_cancellation import wait_for_event
from tests.test_portal import portal_fixture as portal_fixture  # noqa: PLC0414  # pytest finds it here
from tests.ways import ProbeError, caught, numbers, without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from tests.conftest import Backend


class UnhashableError(Exception):
    """An error like those that are data classes."""

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio's, of what the body drops
def test_generators_of_the_body(backend: Backend) -> None:
    """Generators that the body starts and drops are finalised by the loop, before the portal has closed (A7)."""
    log: list[str] = []

    async def inner(name: str) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            if backend.name == "asyncio":  # trio's cleanup is in a cancelled scope
                await backend.checkpoint()
            log.append(name)

    async def body() -> AsyncGenerator[int, None]:
        async for item in inner("first"):
            yield item
            break
        await backend.checkpoint()
        async for item in inner("second"):
            yield item

    with without_collector(), backend.portal() as portal:
        generator = portal.drive(body())
        assert [next(generator), next(generator)] == [1, 1]
    assert sorted(log) == ["first", "second"]


def test_close_with_several_errors(backend: Backend) -> None:
    """What several cleanups raise while the portal closes comes as a group; one that yields is among them (A2, A16)."""

    async def body(error: BaseException | None) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            if error is not None:
                raise error
            yield 2

    errors = [ProbeError("first"), ProbeError("second")]
    portal = backend.portal()
    generators = [portal.drive(body(error)) for error in (*errors, None)]
    assert [next(generator) for generator in generators] == [1, 1, 1]
    with pytest.raises(BaseExceptionGroup) as caught_group:
        portal.close()
    ignored, *raised = caught_group.value.exceptions
    assert str(ignored) == "generator ignored GeneratorExit"
    assert raised == errors[::-1]
    assert [list(generator) for generator in generators] == [[], [], []]


def test_timeout_of_a_stubborn_generator(portal: Portal, backend: Backend) -> None:
    """One that yields when it is cancelled, and again when it is closed, is finished all the same (A2, A11)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            try:
                await wait_for_event(backend)
            finally:
                log.append("cancelled")
                yield 1
        finally:
            log.append("closed")
            yield 2

    generator = portal.drive(body(), timeout=0.02)
    assert type(caught(next, generator)) is StepTimeoutError
    assert log == ["cancelled", "closed"]
    assert list(generator) == []


def test_waits_of_another_library() -> None:
    """On trio, a wait of asyncio's is a TypeError at the await, and the portal goes on (A14)."""
    pytest.importorskip("trio")
    seen: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        except TypeError as exc:
            seen.append(str(exc))
        finally:
            loop.close()
        yield 1

    with Portal(backend="trio") as portal:
        assert list(portal.drive(body())) == [1]
        assert list(portal.drive(numbers())) == [1, 2]
    assert len(seen) == 1
    assert "which trio does not know" in seen[0]


def test_no_task_for_the_host() -> None:
    """What keeps a generator from getting its task comes out of its first step; the portal goes on (A14)."""

    def fail(_loop: object, coroutine: Coroutine[Any, Any, Any], **_options: object) -> asyncio.Task[Any]:
        coroutine.close()
        raise ProbeError

    async def spoil() -> None:
        asyncio.get_running_loop().set_task_factory(fail)  # type: ignore[arg-type, unused-ignore]  # of any version's signature

    with Portal() as portal:
        mending = portal.drive(mended())
        next(mending)
        portal.run(spoil)
        assert isinstance(caught(next, portal.drive(numbers())), ProbeError)
        assert list(mending) == [2]
        assert list(portal.drive(numbers())) == [1, 2]


async def mended() -> AsyncGenerator[int, None]:
    """Give the loop back its way to make tasks, in the second step."""
    yield 1
    asyncio.get_running_loop().set_task_factory(None)
    yield 2


def test_warning_as_an_error(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under -W error the warning of a generator that the collector found goes to sys.unraisablehook (A8)."""
    seen: list[object] = []
    ended = threading.Event()

    def hook(unraisable: Any) -> None:
        seen.append(unraisable.exc_value)

    monkeypatch.setattr("sys.unraisablehook", hook)

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            ended.set()

    with without_collector(), warnings.catch_warnings():
        warnings.simplefilter("error")
        cycle: list[Any] = [portal.drive(body())]
        next(cycle[0])
        cycle.append(cycle)
        del cycle
        gc.collect()
        assert ended.wait(10)
    assert [type(exc) for exc in seen] == [ResourceWarning]


# Races ----------------------------------------------------------------------------------------------------------------


class HandOver(dict[Any, None]):
    """What a portal's loop knows of waiting threads; has another thread call something as soon as one begins to wait.

    Args:
        function: what to call, once.
        before: whether the loop does not yet know that somebody waits.
    """

    def __init__(self, function: Callable[[], object], *, before: bool) -> None:
        super().__init__()
        self.function: Callable[[], object] | None = function
        self.before = before

    def __setitem__(self, host: Any, nothing: None) -> None:
        function, self.function = self.function, None
        if not self.before:
            super().__setitem__(host, nothing)
        if function is not None:
            thread = threading.Thread(target=function)
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
        if self.before:
            super().__setitem__(host, nothing)


@pytest.mark.parametrize("whose", ["portal", "generator"])
def test_closed_at_the_hand_over(backend: Backend, whose: str) -> None:
    """A step is a ClosedError, and waits for nothing, if another thread closes the portal or the generator just before
    the loop gets to know of it (A14, A17).
    """
    portal = backend.portal()
    generator = portal.drive(numbers())
    assert next(generator) == 1
    close = portal.close if whose == "portal" else generator.close
    vars(portal)["_loop"].waiting = HandOver(close, before=True)
    with pytest.raises(ClosedError):
        next(generator)
    assert list(generator) == []
    portal.close()


def test_being_closed_at_the_hand_over(portal: Portal, backend: Backend) -> None:
    """A step is a ClosedError, too, if another thread is just closing the generator, and has to wait for that (A17)."""
    cleans_up = threading.Event()
    loop: Any = vars(portal)["_loop"]

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            cleans_up.set()
            while not any(len(host.line.closers) > 1 for host in loop.hosts):  # until the step waits, too
                await backend.sleep(0.001)

    generator = portal.drive(body())
    assert next(generator) == 1
    closing = threading.Thread(target=generator.close)

    def begin_to_close() -> None:
        closing.start()
        assert cleans_up.wait(10)

    loop.waiting = HandOver(begin_to_close, before=True)
    with pytest.raises(ClosedError):
        next(generator)
    closing.join(10)
    assert not closing.is_alive()
    assert list(generator) == []


def test_crash_at_the_hand_over() -> None:
    """A step is a ClosedError, too, if the loop goes down just before it would take it (A14)."""
    portal = Portal()
    generator = portal.drive(numbers())
    assert next(generator) == 1
    loop: Any = vars(portal)["_loop"]

    def crash() -> None:
        raise SystemExit(3)

    def crash_and_wait() -> None:
        loop.soon(crash)
        loop.thread.join(10)

    loop.waiting = HandOver(crash_and_wait, before=False)
    with pytest.raises(ClosedError) as closed:
        next(generator)
    assert isinstance(closed.value.__cause__, SystemExit)
    with pytest.raises(SystemExit):
        portal.close()


def test_renounced_when_the_loop_has_just_begun(backend: Backend) -> None:
    """A portal that is dropped unused, when a thread that nobody waits for has just begun its loop, ends it (A10)."""
    portal = backend.portal()
    loop: Any = vars(portal)["_loop"]
    loop.open()
    loop.renounce()  # as the finalizer does, which looked before
    loop.thread.join(10)
    assert not loop.thread.is_alive()
    portal.close()


def test_crash_of_a_trio_run() -> None:
    """A step that waits when the run crashes is ClosedError, with the crash as its cause, in whatever order trio
    cancels its tasks; not the cancellation of a scope that the caller has never seen (A9, A14).
    """
    trio = pytest.importorskip("trio")

    async def crash() -> None:
        raise ProbeError

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        trio.lowlevel.spawn_system_task(crash)
        await trio.sleep_forever()

    for _ in range(12):  # trio turns the order of its tasks round in half of the ticks
        portal = Portal(backend="trio")
        generator = portal.drive(body())
        assert next(generator) == 1
        error = caught(next, generator)
        assert isinstance(error, ClosedError)
        assert isinstance(error.__cause__, trio.TrioInternalError)
        with pytest.raises(trio.TrioInternalError):
            portal.close()


def test_timeout_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is cancelled because an exception struck the waiting thread may take longer than its timeout for the
    cleanup (A10, A11).
    """
    portal = Portal(backend_options=virtual_time("asyncio"))
    loop: Any = vars(portal)["_loop"]
    waits, cancelled = threading.Event(), threading.Event()
    cancel_for = loop.cancel_for
    error = ProbeError()
    log: list[str] = []

    def struck(_: Any) -> None:
        assert waits.wait(10)
        monkeypatch.undo()
        raise error

    def cancel_and_tell(*args: Any) -> None:
        cancel_for(*args)
        cancelled.set()

    async def body() -> AsyncGenerator[int, None]:
        waits.set()
        assert cancelled.wait(10)  # blocks the loop, or its clock would have jumped to the timeout
        try:
            await asyncio.sleep(1000)
            yield 1
        finally:
            await asyncio.sleep(1000)
            log.append("cleaned up")

    generator = portal.drive(body(), timeout=10)
    loop.cancel_for = cancel_and_tell
    monkeypatch.setattr(loop, "wait", struck)
    assert caught(next, generator) is error
    assert log == ["cleaned up"]
    portal.close()


def test_first_use_runs_ahead(backend: Backend) -> None:
    """A step of a generator that runs ahead opens the portal, if it is the first use of it (A16)."""
    portal = backend.portal()
    assert list(portal.drive(numbers(), prefetch=4)) == [1, 2]
    portal.close()


def test_struck_after_the_answer(portal: Portal, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a signal handler that strikes when the step has just ended closes the generator, and the caller
    has it when the cleanup has finished (A10).
    """
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await backend.checkpoint()
            log.append("too soon" if returned.wait(0.05) else "cleaned up")

    returned = threading.Event()
    generator = portal.drive(body())
    assert next(generator) == 1
    loop: Any = vars(portal)["_loop"]
    wait, soon = loop.wait, loop.soon
    told: list[object] = []
    goes_on = threading.Event()
    error = ProbeError()

    def struck(line: Any) -> None:
        wait(line)
        monkeypatch.setattr(loop, "wait", wait)
        soon(partial(goes_on.wait, 10))  # so that the loop is told of the cancellation and of the close at once
        monkeypatch.setattr(loop, "soon", told_twice)
        raise error

    def told_twice(callback: Callable[[], object]) -> bool:
        told.append(callback)
        soon(callback)
        if len(told) == 2:
            goes_on.set()
        return True

    monkeypatch.setattr(loop, "wait", struck)
    assert caught(next, generator) is error
    returned.set()
    assert list(generator) == []
    portal.close()
    assert log == ["cleaned up"]


def test_struck_between_two_steps(portal: Portal, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a signal handler that strikes outside of the waiting comes out and closes the generator, whose
    own error is its context (A10).
    """
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await backend.checkpoint()
            log.append("closed")
            raise UnhashableError

    loop: Any = vars(portal)["_loop"]
    step, error = loop.step, ProbeError()

    def struck(*args: Any) -> Any:
        monkeypatch.undo()
        step(*args)
        raise error

    generator = portal.drive(body())
    monkeypatch.setattr(loop, "step", struck)
    assert caught(next, generator) is error
    assert isinstance(error.__context__, UnhashableError)
    assert log == ["closed"]
    assert list(generator) == []


def test_shared_inside_of_shared(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Portal.shared` works in a finalizer that strikes inside of it, and both get the same portal (A8)."""
    options = {**backend.options, ("strict_exception_groups" if backend.name == "trio" else "debug"): True}
    inner: list[Portal] = []
    made = Portal.__init__

    def shared() -> Portal:
        return Portal.shared(backend.name, backend_options=options)

    def struck(self: Portal, **arguments: Any) -> None:
        monkeypatch.undo()
        inner.append(shared())
        made(self, **arguments)

    monkeypatch.setattr(Portal, "__init__", struck)
    outer = shared()
    assert inner == [outer]
    outer.close()


class StruckEvent(threading.Event):
    """An event; whoever waits for it the first time is struck by a signal handler."""

    handler: Callable[[], object] | None = None

    def wait(self, timeout: float | None = None) -> bool:
        """Be struck, then wait."""
        handler, self.handler = self.handler, None
        if handler is not None:
            handler()
        return super().wait(timeout)


def test_close_while_it_opens(backend: Backend) -> None:
    """A signal handler may close a portal that just opens in the same thread (A17)."""
    portal = backend.portal()
    loop: Any = vars(portal)["_loop"]
    loop.ready = StruckEvent()
    loop.ready.handler = portal.close
    with pytest.raises(ClosedError):
        next(portal.drive(numbers()))
    assert not loop.thread.is_alive()
