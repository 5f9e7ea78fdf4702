"""The types of asyncgen_tools.testing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, assert_type

from asyncgen_tools import Runner, SyncGenerator
from asyncgen_tools.testing import (
    Backend,
    Finalization,
    Leak,
    LeakKind,
    LeakTracker,
    Place,
    TrackedDriver,
    Transcript,
    get_backend,
    installed_backends,
    record_transcripts,
    track_async_generators,
    virtual_time,
)


async def generator() -> AsyncGenerator[int, str]:
    yield 1


async def iterator() -> AsyncIterator[int]:
    yield 1


async def double(number: int) -> float:
    return 2.0 * number


def backends() -> None:
    assert_type(installed_backends(), tuple[Backend, ...])
    backend = get_backend("trio")
    assert_type(backend.name, Literal["asyncio", "trio", "bare"])
    assert_type(backend.missing, str | None)
    assert_type(backend.options, dict[str, Any])
    assert_type(backend.run(double, 1), float)
    assert_type(backend.drive(generator()), SyncGenerator[int, str, None])
    assert_type(backend.drive(iterator()), SyncGenerator[int, None, None])
    assert_type(backend.runner(), Runner)
    assert_type(backend.with_virtual_time(), Backend)
    backend.run(double, "1")  # type: ignore[arg-type]
    backend.drive(1)  # type: ignore[call-overload]
    backend.name = "asyncio"  # type: ignore[misc]
    get_backend(name="trio")  # type: ignore[call-arg]


def leaks() -> None:
    with track_async_generators() as tracker:
        assert_type(tracker, LeakTracker)
    assert_type(tracker.leaks, list[Leak])
    assert_type(tracker.leaks[0].kind, LeakKind)
    assert_type(tracker.leaks[0].first_iterated, Place)
    assert_type(tracker.leaks[0].suspended_at, Place | None)
    assert_type(tracker.errors, list[BaseException])
    track_async_generators(hooks=None)  # type: ignore[arg-type]


def driving(backend: Backend) -> None:
    with TrackedDriver(backend) as drive, Finalization(drive) as finalization:
        assert_type(drive(generator()), SyncGenerator[int, str, None])
        assert_type(drive(iterator(), virtual_time=True), SyncGenerator[int, None, None])
        for order in finalization.orders():
            finalization.close(order)
    assert_type(drive.tracker, LeakTracker)


def the_rest() -> None:
    assert_type(virtual_time("trio", patience=0.1), dict[str, Any])
    virtual_time("trio", 0.1)  # type: ignore[call-arg]
    with record_transcripts() as transcripts:
        assert_type(transcripts, list[Transcript])
