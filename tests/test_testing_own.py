"""What the library itself ships stands up to its own kit: the checks and both sweeps, on every backend."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import (
    AsAsyncGenerator,
    AsAsyncIterator,
    concurrent_map,
    delegating,
    hosted,
    in_thread,
    set_return_value,
    yield_from,
)
from asyncgen_tools.errors import ConformanceError
from asyncgen_tools.testing import check_async_generator, get_backend, sweep_cancellation, sweep_close
from asyncgen_tools.testing.conformance import CHECK_CODES
from tests.shelf.tools import checkpoint, checkpoint_shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from asyncgen_tools.testing import SweepPoint
    from asyncgen_tools.testing.closing import CloseAction

ROWS = [
    pytest.param(row, marks=pytest.mark.skipif(get_backend(row).missing is not None, reason=f"no library for {row}"))
    for row in ("asyncio", "trio", "bare", "level")
]


ROWS_WITH_LOOPS = [
    pytest.param(row, marks=pytest.mark.skipif(get_backend(row).missing is not None, reason=f"no library for {row}"))
    for row in ("asyncio", "uvloop", "trio", "level")
]


@pytest.fixture(name="row", params=ROWS)
def row_fixture(request: pytest.FixtureRequest) -> str:
    """Each row."""
    chosen: str = request.param
    return chosen


async def leaf(log: list[str]) -> AsyncGenerator[int, Any]:
    """What is delegated to: it suspends, and cleans up."""
    log.append("open")
    try:
        for number in range(2):
            await checkpoint()
            yield number
    finally:
        await checkpoint_shielded()
        log.remove("open")


@delegating
async def branch(log: list[str]) -> AsyncGenerator[int, Any]:
    """Delegates once."""
    log.append("open")
    try:
        await checkpoint()
        yield -1
        await set_return_value(await yield_from(leaf(log)))
        return
    finally:
        await checkpoint_shielded()
        log.remove("open")


@delegating
async def tree(log: list[str]) -> AsyncGenerator[int, Any]:
    """Delegates twice, through another level."""
    await yield_from(branch(log))
    await checkpoint()
    yield -2
    await yield_from(leaf(log))


def sync_numbers() -> Generator[int]:
    """A sync generator."""
    yield 1
    yield 2


DELEGATING = [branch, tree]
RECIPES: list[Callable[[], Any]] = [lambda: AsAsyncIterator([1, 2, 3]), lambda: AsAsyncGenerator(sync_numbers())]


@pytest.mark.parametrize("make", DELEGATING, ids=["branch", "tree"])
def test_delegating_generators_conform(make: Callable[[list[str]], Any], row: str) -> None:
    """Delegating generators pass every check, the opt-in ones included (B21, B22)."""
    verdicts = check_async_generator(lambda: make([]), backends=[row], checks=CHECK_CODES)
    assert {verdict.result for verdict in verdicts} <= {"passed", "skipped"}
    assert next(verdict for verdict in verdicts if verdict.code == "reentrancy").result == "passed"


def nothing_is_open(log: list[str], point: SweepPoint) -> None:
    """Every generator of the chain has run its cleanup."""
    assert log == [], f"{len(log)} generators are open after {point.action} at point {point.number}"


def made(make: Callable[[list[str]], Any]) -> Callable[[], tuple[Any, list[str]]]:
    """A generator beside the log that tells what is open."""

    def pair() -> tuple[Any, list[str]]:
        log: list[str] = []
        return make(log), log

    return pair


@pytest.mark.parametrize("make", DELEGATING, ids=["branch", "tree"])
@pytest.mark.parametrize("library", ["asyncio", "trio", "level"])
def test_delegation_can_be_cancelled_anywhere(make: Callable[[list[str]], Any], library: str) -> None:
    """Cancelled at any suspension, a chain of delegations ends cancelled and with nothing open (B18)."""
    missing = get_backend(library).missing
    if missing is not None:
        pytest.skip(missing)
    # Plain asyncio cancels through anyio's shields, so that cleanup itself is cut short there, once.
    check = None if library == "asyncio" else nothing_is_open
    report = sweep_cancellation(made(make), backend=library, check=check)
    assert len(report.points) > 4


@pytest.mark.parametrize("make", DELEGATING, ids=["branch", "tree"])
def test_delegation_can_be_closed_anywhere(make: Callable[[list[str]], Any], row: str) -> None:
    """Closed at any yield, by whatever means, a chain of delegations leaves nothing open (B7, B22)."""
    actions: list[CloseAction] = ["aclose", "athrow", "aclose-cancelled"]
    sweep_close(made(make), backend=row, actions=actions, check=nothing_is_open)
    sweep_close(made(make), backend=row, actions=["drop"])


@pytest.mark.parametrize("make", RECIPES, ids=["AsAsyncIterator", "AsAsyncGenerator"])
def test_recipes_conform(make: Callable[[], Any], row: str) -> None:
    """PEP 828's recipes pass every check but `no-checkpoint`, since what they iterate has nothing to wait for."""
    check_async_generator(make, backends=[row], checks=[code for code in CHECK_CODES if code != "no-checkpoint"])
    report = sweep_close(make, backend=row)
    assert report.problems == ()


# Bridges -----------------------------------------------------------------------------------------------------------


async def through_host(log: list[str]) -> AsyncGenerator[int, Any]:
    """A hosted generator."""
    async with hosted(branch(log)) as generator:
        async for number in generator:
            yield number


def sync_leaf(log: list[str]) -> Generator[int]:
    """A sync generator that tells whether it is open."""
    log.append("open")
    try:
        yield from range(2)
    finally:
        log.remove("open")


def in_own_thread(log: list[str]) -> Any:
    """It, in a thread of its own."""
    return in_thread(sync_leaf(log))


def in_thread_ahead(log: list[str]) -> Any:
    """It, in a thread that runs ahead."""
    return in_thread(sync_leaf(log), prefetch=1)


async def in_thread_block(log: list[str]) -> AsyncGenerator[int, Any]:
    """It, in a block that is held over the yields."""
    async with in_thread(sync_leaf(log)) as items:
        async for number in items:
            yield number


async def call(log: list[str], number: int) -> int:
    """One call of a `concurrent_map`."""
    log.append("open")
    try:
        await checkpoint()
        return number
    finally:
        await checkpoint_shielded()
        log.remove("open")


async def mapped(log: list[str]) -> AsyncGenerator[int, Any]:
    """A `concurrent_map`, whose tasks are there while it is suspended."""
    async with concurrent_map(partial(call, log), leaf(log), limit=2) as results:
        async for number in results:
            yield number


async def mapped_in_host(log: list[str]) -> AsyncGenerator[int, Any]:
    """It, in the host that it needs for that."""
    async with hosted(mapped(log)) as generator:
        async for number in generator:
            yield number


def map_alone(log: list[str]) -> Awaitable[None]:
    """It, in the manner of its manual."""

    async def consume() -> None:
        async with concurrent_map(partial(call, log), leaf(log), limit=2) as results:
            async for _ in results:
                pass

    return consume()


SHIELDED = [through_host, mapped_in_host, map_alone]  # whose cleanup awaits
BRIDGES = [through_host, in_own_thread, in_thread_block, mapped_in_host]


@pytest.fixture(name="loop_row", params=ROWS_WITH_LOOPS)
def loop_row_fixture(request: pytest.FixtureRequest) -> str:
    """Each row with an event loop."""
    chosen: str = request.param
    return chosen


@pytest.mark.parametrize("make", BRIDGES)
def test_bridges_conform(make: Callable[[list[str]], Any], loop_row: str) -> None:
    """What is hosted, in a thread or mapped passes every check, the opt-in ones included."""
    verdicts = check_async_generator(lambda: make([]), backends=[loop_row], checks=CHECK_CODES)
    assert {verdict.code for verdict in verdicts if verdict.result != "passed"} <= {"no-checkpoint"}


@pytest.mark.parametrize("make", [*BRIDGES, in_thread_ahead, map_alone])
def test_bridges_can_be_cancelled_anywhere(make: Callable[[list[str]], Any], loop_row: str) -> None:
    """Cancelled at any suspension, a bridge ends cancelled, with nothing open and no thread or task at work."""
    # Plain asyncio cancels through anyio's shields, in the host as elsewhere.
    check = None if loop_row in {"asyncio", "uvloop"} and make in SHIELDED else nothing_is_open
    report = sweep_cancellation(made(make), backend=loop_row, check=check)
    assert len(report.points) > 2


@pytest.mark.parametrize("make", BRIDGES)
def test_bridges_can_be_closed_anywhere(make: Callable[[list[str]], Any], loop_row: str) -> None:
    """Closed at any yield, by whatever means, a bridge leaves nothing open; one in a thread warns when dropped."""
    actions: list[CloseAction] = ["aclose", "athrow", "aclose-cancelled"]
    sweep_close(made(make), backend=loop_row, actions=actions, check=nothing_is_open)
    if make is not in_own_thread:
        sweep_close(made(make), backend=loop_row, actions=["drop"])


def test_running_ahead_can_be_closed_anywhere(loop_row: str) -> None:
    """A thread that runs ahead is closed like one that does not; only nothing can be thrown into it."""
    actions: list[CloseAction] = ["aclose", "aclose-cancelled"]
    sweep_close(made(in_thread_ahead), backend=loop_row, actions=actions, check=nothing_is_open)


def test_a_map_held_over_a_yield_is_found(loop_row: str) -> None:
    """Without a host, the task group of a `concurrent_map` is one that is open over a yield, as PEP 789 forbids."""
    with pytest.raises(ConformanceError, match=r"(?s)scope-across-yield on .*:\d+ in mapped"):
        check_async_generator(lambda: mapped([]), backends=[loop_row], checks=["scope-across-yield"])
