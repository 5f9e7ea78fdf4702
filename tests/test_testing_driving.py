"""TrackedDriver and Finalization: one loop for a test's generators, everything closed, every leak found; no pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools.errors import LeakError
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.testing import Backend, Finalization, TrackedDriver, installed_backends
from tests.ways import numbers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


# Trio's own word on a generator that was dropped; raised in the collector, it would be unraisable.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning"),
    pytest.mark.asyncgen_leaks("off"),  # these tests leak on purpose
]


@pytest.fixture(name="row", params=installed_backends(), ids=lambda row: row.id)
def row_fixture(request: pytest.FixtureRequest) -> Backend:
    """Each usual backend."""
    chosen: Backend = request.param
    return chosen


def logger(row: Backend, log: list[str]) -> Any:
    """Make generators that log their cleanup, which suspends."""

    async def source(name: str) -> AsyncGenerator[str, None]:
        try:
            yield name
        finally:
            await row.checkpoint()
            log.append(name)

    return source


def test_closes_what_is_open(row: Backend) -> None:
    """The end of the block closes the generators, last opened first, and then the loop; nothing leaks by that."""
    log: list[str] = []
    source = logger(row, log)
    with TrackedDriver(row) as drive:
        begun = [drive(source(name)) for name in "abc"]
        assert [next(generator) for generator in begun] == ["a", "b", "c"]
        assert drive.backend is row
    assert log == ["c", "b", "a"]
    drive.tracker.check()
    assert observers.watchers == ()


def test_finds_leaks(row: Backend) -> None:
    """What a driven generator leaves unfinished is found, whether it was dropped or is closed with the loop."""
    kept: list[Any] = []

    async def careless() -> AsyncGenerator[int, None]:
        async for _ in numbers():
            break
        kept.append(numbers())
        yield await anext(kept[0])

    with TrackedDriver(row) as drive:
        assert list(drive(careless())) == [1]
    assert [leak.kind.value for leak in drive.tracker.leaks] == ["collected", "closed at shutdown"]
    with pytest.raises(LeakError):
        drive.tracker.check()


def test_closes_also_after_an_error(row: Backend) -> None:
    """An error in the block, and errors of cleanup, do not keep it from closing and from tracking no more."""

    async def fails() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise KeyError("cleanup")

    with pytest.raises(KeyError, match="cleanup") as caught, TrackedDriver(row) as drive:
        generator = drive(fails())
        next(generator)
        raise ValueError("block")
    assert isinstance(caught.value.__context__, ValueError)
    assert observers.watchers == ()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_notes_what_dropped_ones_raise(row: Backend) -> None:
    """A generator that is dropped in the block is closed then, and what its cleanup raises is not lost."""

    async def fails(error: type[Exception] | None) -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            if error is not None:
                raise error("cleanup") from None
            yield 2

    with TrackedDriver(row) as drive:
        for error in (KeyError, None):
            assert next(drive(fails(error))) == 1
    assert list(map(repr, drive.tracker.errors[:2])) == [
        "KeyError('cleanup')",
        "RuntimeError('generator ignored GeneratorExit')",
    ]
    assert len(drive.tracker.leaks) == 1  # the one that goes on
    with pytest.raises(LeakError, match="KeyError: 'cleanup'"):
        drive.tracker.check()


def test_two_clocks() -> None:
    """Generators with virtual time share one loop, those without another one, side by side."""
    [row] = installed_backends("asyncio")

    async def times(seconds: float) -> AsyncGenerator[float, None]:
        while True:
            await anyio.sleep(seconds)
            yield anyio.current_time()

    with TrackedDriver(row) as drive:
        first, second = drive(times(3600), virtual_time=True), drive(times(1800), virtual_time=True)
        real = drive(times(0))
        assert next(first) == 3600
        assert next(second) == 5400
        assert 0 < next(real) != 5400
        assert drive.runner(virtual_time=True) is drive.runner(virtual_time=True) is not drive.runner()


@pytest.mark.parametrize("virtual_time", [False, True])
def test_finalization_in_every_order(row: Backend, *, virtual_time: bool) -> None:
    """`orders` gives every order once, and `close` closes in it, on the loop where each generator began."""
    logs: list[str] = []
    with TrackedDriver(row) as drive, Finalization(drive) as finalization:
        for order in finalization.orders():
            log: list[str] = []
            source = logger(row, log)
            begun = [drive(source(name), virtual_time=virtual_time) for name in "abc"]
            assert [next(generator) for generator in begun] == ["a", "b", "c"]
            finalization.close(order)
            assert finalization.generators == []
            logs.append("".join(log))
    assert logs == ["abc", "acb", "bac", "bca", "cab", "cba"]


def test_finalization_has_a_limit(row: Backend) -> None:
    """Of the orders of many generators, 120 are tried."""
    count = 0
    with TrackedDriver(row) as drive, Finalization(drive) as finalization:
        for order in finalization.orders():
            begun = [drive(numbers()) for _ in range(6)]
            assert [next(generator) for generator in begun] == [1] * 6
            finalization.close(order)
            count += 1
    assert count == 120


def test_finalization_closes_all_before_it_raises(row: Backend) -> None:
    """Errors of cleanup come after every generator was closed: one as it is, several as a group."""

    async def fails(name: str) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise KeyError(name)

    with TrackedDriver(row) as drive, Finalization(drive) as finalization:
        begun = [drive(source) for source in (fails("a"), numbers())]
        assert [next(generator) for generator in begun] == [1, 1]
        with pytest.raises(KeyError, match="a"):
            finalization.close()
        begun = [drive(source) for source in (fails("a"), fails("b"))]
        assert [next(generator) for generator in begun] == [1, 1]
        with pytest.raises(ExceptionGroup) as caught:
            finalization.close([1])
    assert [str(error) for error in caught.value.exceptions] == ["'b'", "'a'"]
