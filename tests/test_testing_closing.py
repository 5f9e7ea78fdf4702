"""sweep_close: a generator is left at each yield in each way, and what its cleanup leaves behind is looked at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import delegating, yield_from
from asyncgen_tools.errors import HangError, RunningLoopError, SourceTypeError, SweepError
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.testing import Ending, SweepPoint, get_backend, sweep_close
from tests.shelf.tools import checkpoint, checkpoint_shielded, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncgen_tools.testing.closing import CloseAction

ROWS = [
    pytest.param(row, marks=pytest.mark.skipif(get_backend(row).missing is not None, reason=f"no library for {row}"))
    for row in ("asyncio", "trio", "bare", "uvloop", "level")
]


@pytest.fixture(name="row", params=ROWS)
def row_fixture(request: pytest.FixtureRequest) -> str:
    """Each row."""
    chosen: str = request.param
    return chosen


def leases(*, shielded: bool) -> tuple[AsyncGenerator[int, None], set[int]]:
    """A generator that takes leases and gives them back, and those that are out."""
    out: set[int] = set()

    async def lend() -> AsyncGenerator[int, None]:
        for number in range(3):
            await checkpoint()
            out.add(number)
            try:
                yield number
            finally:
                if shielded:
                    await checkpoint_shielded()
                elif library() != "bare":
                    await checkpoint()
                out.discard(number)

    return lend(), out


def all_are_back(out: set[int], point: SweepPoint) -> None:
    """What a user's check would say."""
    assert not out, f"{len(out)} leases are out after {point.action}"


def test_good_cleanup_passes(row: str) -> None:
    """A generator whose cleanup is shielded gives everything back, at each yield and in each way."""
    actions: list[CloseAction] = [
        "aclose",
        "athrow",
        "aclose-cancelled",
    ]  # a loop may finalise what is dropped when the check is over
    report = sweep_close(lambda: leases(shielded=True), backend=row, actions=actions, check=all_are_back)
    known = [action for action in actions if row != "bare" or action != "aclose-cancelled"]
    assert [(point.number, point.action) for point in report.points] == [
        (number, action) for number in (1, 2, 3) for action in known
    ]
    assert {point.ending for point in report.points} == {Ending.CLOSED}
    assert all(point.place is not None and point.place.function.endswith("lend") for point in report.points)


def test_unshielded_cleanup_is_found(row: str) -> None:
    """Cleanup that awaits unshielded loses its lease when it is closed in a cancelled scope, and only then."""
    if row == "bare":
        sweep_close(lambda: leases(shielded=False), backend=row, check=all_are_back)
        return
    with pytest.raises(SweepError, match="1 leases are out after aclose-cancelled") as caught:
        sweep_close(
            lambda: leases(shielded=False), backend=row, actions=["aclose", "aclose-cancelled"], check=all_are_back
        )
    assert caught.value.report is not None
    assert {point.action for point in caught.value.report.problems} == {"aclose-cancelled"}
    assert "close_at=1" in str(caught.value)


def test_dropped_generators_are_finalised() -> None:
    """A dropped generator's cleanup has run when `check` looks, awaits included, where the loop lets it await."""
    report = sweep_close(lambda: leases(shielded=False), backend="asyncio", actions=["drop"], check=all_are_back)
    assert [point.ending for point in report.points] == [Ending.CLOSED] * 3


def test_errors_of_cleanup_are_found(row: str) -> None:
    """What cleanup raises is a problem in each way of leaving, a finaliser's included, which loops only log."""

    async def clumsy() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except BaseException as error:
            raise OSError("cannot clean up") from error

    @delegating
    async def delegator() -> AsyncGenerator[int, None]:
        await yield_from(clumsy())
        yield 2

    for make in (clumsy, delegator):
        for action in ("aclose", "athrow", "drop"):
            with pytest.raises(SweepError, match=r"raised OSError\('cannot clean up'\)") as caught:
                sweep_close(make, backend=row, actions=[action])
            assert isinstance(caught.value.__cause__, OSError)


def test_a_loop_that_is_brought_down_is_found(row: str) -> None:
    """What ends the loop, or its main task, is a problem at that point, such as a nursery left in another task."""
    if row == "bare":
        pytest.skip("bare has no task group")

    async def holds() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield 1
            group.cancel_scope.cancel()

    before = observers.watchers
    with pytest.raises(SweepError, match=r"point 1 \(drop\).*: raised"):
        sweep_close(holds, backend=row, actions=["drop"])
    assert observers.watchers == before


def test_generators_that_go_on_are_found(row: str) -> None:
    """A source that yields after its close is unfinished."""

    class Undead:
        """Its close does nothing."""

        def __init__(self) -> None:
            self.number = 0

        def __aiter__(self) -> Undead:
            return self

        async def __anext__(self) -> int:
            self.number += 1
            if self.number > 3:
                raise StopAsyncIteration
            return self.number

        async def aclose(self) -> None:
            """Close it, or so one thinks."""

    with pytest.raises(SweepError, match=r"point 1 .aclose.*: unfinished"):
        sweep_close(Undead, backend=row, actions=["aclose"])


def test_thrown_errors_may_be_handled(row: str) -> None:
    """A generator that takes a thrown error and goes on is no problem."""

    async def sturdy() -> AsyncGenerator[int, None]:
        for number in range(3):
            try:
                yield number
            except Exception:  # noqa: S112  # that is what is tested
                continue

    assert sweep_close(sturdy, backend=row, actions=["athrow"]).problems == ()


def test_iterators_are_dropped_only(row: str) -> None:
    """What has no aclose and no athrow can only be dropped; the other actions are left out."""

    class Countdown:
        """A plain async iterator."""

        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> Countdown:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    report = sweep_close(Countdown, backend=row)
    assert [(point.number, point.action) for point in report.points] == [(1, "drop"), (2, "drop")]


async def endless() -> AsyncGenerator[int, None]:
    """It never ends by itself."""
    while True:
        yield 1


def test_replay_and_limit() -> None:
    """`max_yields` bounds an endless generator; `close_at` runs one yield, and says which there are."""
    assert len(sweep_close(endless, actions=["aclose"], max_yields=7).points) == 7
    assert [point.number for point in sweep_close(endless, actions=["aclose"], max_yields=7, close_at=5).points] == [5]
    with pytest.raises(ValueError, match="has yields 1 to 7"):
        sweep_close(endless, max_yields=7, close_at=8)


def test_bad_input() -> None:
    """What is no factory, no async iterable or no action is one clear error."""
    given: Any = endless()
    with pytest.raises(SourceTypeError, match="takes a function, not <async_generator"):
        sweep_close(given)
    with pytest.raises(SourceTypeError, match="gave 3 of type int, which is not async-iterable"):
        sweep_close(lambda: 3)
    unknown: Any = ["explode"]
    with pytest.raises(ValueError, match=r"has no action 'explode'\. Its actions are: aclose, athrow, drop"):
        sweep_close(endless, actions=unknown)


def test_generator_that_fails_by_itself() -> None:
    """A generator that raises when it is left alone cannot be swept, and its error is the cause."""

    async def fails() -> AsyncGenerator[int, None]:
        yield 1
        raise OSError("no disk")

    with pytest.raises(SweepError, match="left to run to its end") as caught:
        sweep_close(fails)
    assert isinstance(caught.value.__cause__, OSError)


def test_inside_a_loop_it_is_refused() -> None:
    """Where a loop runs already, it says so at once."""

    async def main() -> None:
        sweep_close(endless)

    with pytest.raises(RunningLoopError, match=r"sweep_close.. was called where an event loop is running"):
        asyncio.run(main())


def test_hang_at_once() -> None:
    """A generator that hangs before its first yield is reported as that, and not as one that fails."""

    async def hangs() -> AsyncGenerator[int, None]:
        await asyncio.Event().wait()
        yield 1

    with pytest.raises(HangError, match=r"in .*hangs"):
        sweep_close(hangs, timeout=0.4)


def test_hang_in_the_cleanup() -> None:
    """A cleanup that hangs is reported with the action that led to it."""

    async def hangs() -> AsyncGenerator[int, None]:
        try:
            yield 1
        except GeneratorExit:
            await asyncio.Event().wait()

    with pytest.raises(HangError, match="aclose"):
        sweep_close(hangs, actions=["aclose"], timeout=0.4)


def test_yields_that_are_not_there_again(row: str) -> None:
    """A generator that yields less often than at first is not reached at the later points, which is no problem."""
    lengths = [2, 2, 1]

    async def shrinks(length: int) -> AsyncGenerator[int, None]:
        for number in range(length):
            yield number

    report = sweep_close(lambda: shrinks(lengths.pop(0)), backend=row, actions=["aclose"])
    assert [point.ending for point in report.points] == [Ending.CLOSED, Ending.NOT_REACHED]
