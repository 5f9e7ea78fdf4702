"""What the tests of `in_thread` share: sources, and the threads that they leave or do not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


__all__ = ("PATIENCE", "Gate", "join_workers", "no_thread_is_left_fixture", "numbers", "worker_threads")

PATIENCE = 20


def numbers(count: int = 3) -> Generator[int, Any, str]:
    """0, 1, 2, and a return value."""
    number = 0
    while number < count:
        yield number
        number += 1
    return "done"


def worker_threads() -> list[threading.Thread]:
    """The threads of `in_thread` that live."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("in_thread of ")]


def join_workers() -> None:
    """Wait for the end of the threads that are about to end."""
    for thread in worker_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture(name="no_thread_is_left")
def no_thread_is_left_fixture() -> Iterator[None]:
    """Each test ends the threads that it has started."""
    yield
    join_workers()


@final
class Gate:
    """A sync generator that blocks in each step until it is let through, and tells what happens to it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.passes = threading.Semaphore(0)
        self.log: list[str] = []

    def items(self) -> Generator[int, None, None]:
        """Count, one item for each pass."""
        number = 0
        try:
            while True:
                self.entered.release()
                assert self.passes.acquire(timeout=PATIENCE)
                yield number
                number += 1
        finally:
            self.log.append(f"closed in {threading.current_thread().name}")
