from __future__ import annotations

import contextvars
import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools.steps import CLOSE, NEXT, Operation, Outcome, Raised, Returned, Step, Yielded
from asyncgen_tools.worker import RunAhead, Worker, is_iterable
from tests.ways import ProbeError

if TYPE_CHECKING:
    from collections.abc import Generator

PATIENCE = 20


def numbers() -> Generator[int, Any, str]:
    """0, 1, 2, and a return value."""
    yield from range(3)
    return "done"


def taken(worker: Worker, *steps: Step) -> list[Outcome]:
    """What comes of the steps, in the worker's thread."""
    replies: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    outcomes: list[Outcome] = []
    for step in steps:
        worker.submit([step], replies.put)
        outcomes.append(replies.get(timeout=PATIENCE))
    return outcomes


def test_steps_need_no_loop() -> None:
    """A worker takes steps and replies in its thread, without any event loop; after the end its thread is gone."""
    worker = Worker(numbers(), contextvars.copy_context())
    assert not worker.finished
    assert taken(worker, NEXT, NEXT, NEXT, NEXT) == [Yielded(0), Yielded(1), Yielded(2), Returned("done")]
    assert worker.finished


def test_interrupt_while_the_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C that strikes when the thread has just been started leaves one thread, which takes what comes, and ends."""
    threads: list[threading.Thread] = []

    class StruckThread(threading.Thread):
        def start(self) -> None:
            super().start()
            threads.append(self)
            if len(threads) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Thread", StruckThread)
    worker = Worker(numbers(), contextvars.copy_context())
    with pytest.raises(KeyboardInterrupt):
        worker.submit([NEXT], lambda _: pytest.fail("the step was taken"))
    assert taken(worker, NEXT, NEXT) == [Yielded(0), Yielded(1)]
    worker.leave()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_run_ahead_stops_at_its_limit(limit: int) -> None:
    """A run ahead produces as many as it may, or to the end, and then replies; the next one goes on from there."""
    worker = Worker(numbers(), contextvars.copy_context())
    ahead = RunAhead(limit)
    outcomes: list[Outcome] = []
    idle = threading.Semaphore(0)
    while not worker.finished:
        worker.run_ahead(ahead, idle.release)
        assert idle.acquire(timeout=PATIENCE)
        assert not ahead.active
        assert len(ahead.outcomes) <= limit
        outcomes += ahead.outcomes
        ahead.outcomes.clear()
    assert outcomes == [Yielded(0), Yielded(1), Yielded(2), Returned("done")]
    worker.leave()


def test_run_ahead_that_was_stopped() -> None:
    """A run ahead that was told to stop makes one item and no more."""
    worker = Worker(numbers(), contextvars.copy_context())
    ahead = RunAhead(10)
    ahead.stopped = True
    idle = threading.Event()
    worker.run_ahead(ahead, idle.set)
    assert idle.wait(PATIENCE)
    assert list(ahead.outcomes) == [Yielded(0)]
    assert taken(worker, CLOSE) == [Returned()]


def test_arrival_is_told_once() -> None:
    """Whoever waits is called at the next arrival, once; where there is something already, not at all."""
    ahead = RunAhead(1)
    calls: list[int] = []
    assert ahead.call_on_arrival(lambda: calls.append(1))  # nobody is at it
    ahead.active = True
    assert not ahead.call_on_arrival(lambda: calls.append(2))
    ahead.produce(lambda _: Yielded(5))
    ahead.alert()
    assert calls == [2]
    assert ahead.call_on_arrival(lambda: calls.append(3))
    assert not ahead.arrival


def test_leaving_closes() -> None:
    """A worker that is left closes the generator in its thread; what that raises goes to the thread."""
    closed: list[str] = []

    def source() -> Generator[int]:
        try:
            yield 1
        finally:
            closed.append(threading.current_thread().name)

    worker = Worker(source(), contextvars.copy_context())
    taken(worker, NEXT)
    worker.leave()
    for thread in threading.enumerate():
        if thread.name == f"in_thread of {worker.name}":
            thread.join(PATIENCE)
    assert closed == [f"in_thread of {worker.name}"]


def test_after_the_end() -> None:
    """A finished worker returns at once; an exception thrown into it is raised."""
    worker = Worker([], contextvars.copy_context())
    worker.finished = True
    error = ProbeError()
    assert worker.perform([NEXT]) == Returned()
    assert worker.perform([CLOSE]) == Returned()
    assert worker.perform([Step(Operation.THROW, error)]) == Raised(error)


def test_what_is_iterable() -> None:
    """The old protocol of sequences counts; classes that are iterable when called do not."""

    class Old:
        def __getitem__(self, index: int) -> int:
            if index:
                raise IndexError
            return index

    iterable: list[object] = [[], "a", numbers(), Old()]
    assert [is_iterable(source) for source in iterable] == [True] * 4
    assert [is_iterable(source) for source in (5, numbers, list, Old)] == [False] * 4
    assert taken(Worker(Old(), contextvars.copy_context()), NEXT, NEXT) == [Yielded(0), Returned()]
