"""sweep_cancellation: each point is cancelled once, endings are told apart, and what is reported can be replayed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import AsAsyncIterator
from asyncgen_tools.errors import HangError, RunningLoopError, SourceTypeError, SweepError, UnknownBackendError
from asyncgen_tools.testing import Ending, SweepPoint, get_backend, sweep_cancellation
from tests.shelf.tools import checkpoint, checkpoint_shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncgen_tools.testing import SweepReport

ROWS = [
    pytest.param(row, marks=pytest.mark.skipif(get_backend(row).missing is not None, reason=f"no library for {row}"))
    for row in ("asyncio", "trio", "uvloop", "level")
]
LEVEL_ROWS = [row for row in ROWS if row.values[0] in {"trio", "level"}]
ALL = [ending.value for ending in Ending]


@pytest.fixture(name="row", params=ROWS)
def row_fixture(request: pytest.FixtureRequest) -> str:
    """Each row that has cancellation."""
    chosen: str = request.param
    return chosen


def endings(report: SweepReport) -> list[str]:
    """How the scenario ended at each point."""
    return [point.ending.value for point in report.points]


async def three_waits() -> None:
    """A scenario of three suspensions."""
    await checkpoint()
    await checkpoint()
    await checkpoint()


def test_every_point_is_cancelled(row: str) -> None:
    """A scenario of n suspensions has n + 1 points: the entry, and each suspension, with the line of the user's
    code.
    """
    report = sweep_cancellation(three_waits, backend=row)
    assert [point.number for point in report.points] == [-1, 0, 1, 2]
    assert endings(report) == ["cancelled"] * 4
    assert report.points[0].place is None
    places = [point.place for point in report.points[1:]]
    assert all(place is not None and place.function == "checkpoint" for place in places)
    assert report.backend == row
    assert report.name.endswith("three_waits")
    assert "point 2 (cancel) at " in str(report)


def test_cancellation_is_delivered_where_it_says(row: str) -> None:
    """The code before point k has run, and the code after it has not."""
    seen: list[int] = []

    async def scenario() -> None:
        for number in range(4):
            seen.append(number)
            await checkpoint()

    counts: list[int] = []

    def check(state: object, point: SweepPoint) -> None:
        assert state is None
        counts.append(len(seen) if point.number >= 0 else 0)

    def make() -> Any:
        seen.clear()
        return scenario()

    sweep_cancellation(make, backend=row, check=check)
    assert counts == [0, 1, 2, 3, 4]


def test_swallowed_is_a_problem(row: str) -> None:
    """A cancellation that was delivered, and after which the scenario returned, is an error that names the point."""

    async def swallows() -> None:
        await checkpoint()
        try:
            await checkpoint()
        except BaseException:  # the mistake
            return

    with pytest.raises(SweepError, match=r"1 of 3 points .* went wrong") as caught:
        sweep_cancellation(swallows, backend=row)
    assert isinstance(caught.value, AssertionError)
    report = caught.value.report
    assert report is not None
    (problem,) = report.problems
    assert (problem.number, problem.ending) == (1, Ending.SWALLOWED)
    assert "Run one of them again with cancel_at=1." in str(caught.value)
    assert endings(sweep_cancellation(swallows, backend=row, allowed=ALL)) == ["cancelled", "cancelled", "swallowed"]


def test_completed_late_is_no_problem() -> None:
    """A cancellation that is requested and never delivered is no bug: the code was shielded, or had no await left."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()

    assert endings(sweep_cancellation(shielded, backend="trio")) == ["completed-late", "completed-late"]

    async def nothing() -> None:
        pass

    for row in ("asyncio", "level", "trio"):
        assert endings(sweep_cancellation(nothing, backend=row)) == ["completed-late"]


def test_shielded_on_asyncio_level() -> None:
    """Under level cancellation on asyncio an anyio shield holds, which plain `Task.cancel` goes through."""
    assert endings(sweep_cancellation(checkpoint_shielded, backend="level")) == ["completed-late"] * 2
    assert endings(sweep_cancellation(checkpoint_shielded, backend="asyncio"))[1:] == ["cancelled"]


@pytest.mark.parametrize("row", LEVEL_ROWS)
def test_deadlines_of_inner_scopes_are_no_delivery(row: str) -> None:
    """A deadline that passes in shielded code cancels that code alone; on trio every sleep ends so."""

    async def shielded() -> None:
        with anyio.move_on_after(0.0001, shield=True):
            await anyio.sleep_forever()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.0001)

    assert set(endings(sweep_cancellation(shielded, backend=row))) == {"completed-late"}


async def cancels_child(*, rightly: bool) -> None:
    """Cancels a task of its own, and waits for it."""
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if rightly and current is not None and current.cancelling():
            raise


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0] != "trio"])
def test_cancellations_of_others_are_no_delivery(row: str) -> None:
    """What a child's cancellation or an inner timeout throws into the task is not what was requested."""

    async def times_out() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    late = "completed-late" if row == "level" else "cancelled"  # an anyio scope cancels at the next await only
    report = sweep_cancellation(lambda: cancels_child(rightly=True), backend=row)
    assert endings(report) == ["cancelled", "cancelled", late]
    # At the entry it would be swallowed, truly: asyncio's timeout takes what was requested before it for its own.
    assert endings(sweep_cancellation(times_out, backend=row, cancel_at=0)) == [late]


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0] in {"asyncio", "uvloop"}])
@pytest.mark.parametrize("scope", ["task", "tree"])
def test_cancellation_taken_for_that_of_a_child(row: str, scope: Any) -> None:
    """A cancellation that arrives with that of a child, and is taken for it, is swallowed: `cancelling()` tells."""
    report = sweep_cancellation(lambda: cancels_child(rightly=False), backend=row, scope=scope, allowed=ALL)
    last = report.points[-1]
    assert last.ending is Ending.SWALLOWED
    assert last.place is not None
    assert last.place.function == "cancels_child"


def test_level_cancels_each_await() -> None:
    """Cleanup that awaits is cut short under level cancellation, and only there."""

    def make() -> tuple[Any, list[str]]:
        log: list[str] = []

        async def scenario() -> None:
            try:
                await asyncio.sleep(0)
            finally:
                await asyncio.sleep(0)
                log.append("cleaned up")

        return scenario(), log

    def check(log: list[str], point: SweepPoint) -> None:
        if point.number >= 0:
            assert log, "cleanup was cut short"

    sweep_cancellation(make, backend="asyncio", check=check, cancel_at=0)
    with pytest.raises(SweepError, match="cleanup was cut short"):
        sweep_cancellation(make, backend="level", check=check, cancel_at=0)


def test_raised_is_a_problem(row: str) -> None:
    """A scenario that turns the cancellation into another error is reported with that error, also as the cause."""

    async def converts() -> None:
        try:
            await checkpoint()
        except BaseException as error:
            raise ConnectionError("lost") from error

    with pytest.raises(SweepError, match=r"raised ConnectionError\('lost'\)") as caught:
        sweep_cancellation(converts, backend=row)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_check_sees_the_state(row: str) -> None:
    """`check` gets the state that `make` gave beside the scenario, after each run, and what it raises is a problem."""

    def make() -> tuple[Any, dict[str, int]]:
        accounts = {"a": 10, "b": 0}

        async def transfer() -> None:
            accounts["a"] -= 5
            await checkpoint()
            accounts["b"] += 5

        return transfer(), accounts

    def money_is_kept(accounts: dict[str, int], point: SweepPoint) -> None:
        assert sum(accounts.values()) == 10, f"money was lost, {point.ending.value}"

    with pytest.raises(SweepError, match="money was lost, cancelled") as caught:
        sweep_cancellation(make, backend=row, check=money_is_kept)
    assert caught.value.report is not None
    # At the entry, asyncio's and trio's cancellation both strike at the first await, when the money is on its way.
    assert [point.number for point in caught.value.report.problems] == [-1, 0]


def test_replay(row: str) -> None:
    """`cancel_at=k` runs one point; one that does not exist is a ValueError that says which do."""
    report = sweep_cancellation(three_waits, backend=row, cancel_at=1)
    assert [point.number for point in report.points] == [1]
    with pytest.raises(ValueError, match=r"has points -1 to 2"):
        sweep_cancellation(three_waits, backend=row, cancel_at=3)


def test_async_iterables_are_scenarios(row: str) -> None:
    """A scenario may be an async generator: it is iterated to its end and closed, whatever happens."""
    ended: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(2):
                await checkpoint()
                yield number
        finally:
            ended.append("ended")

    report = sweep_cancellation(numbers, backend=row)
    assert endings(report) == ["cancelled"] * 3
    assert len(ended) == 1 + 3
    assert endings(sweep_cancellation(lambda: AsAsyncIterator([1, 2]), backend=row)) == ["completed-late"]


def test_task_and_tree_on_asyncio() -> None:
    """With scope="task" only the scenario's own suspensions are points; with "tree" those of its child tasks, too."""

    async def child() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def family() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())

    assert len(sweep_cancellation(family).points) == 2
    report = sweep_cancellation(family, scope="tree")
    assert len(report.points) == 1 + 1 + 4
    functions = [point.place.function.rpartition(".")[2] for point in report.points if point.place is not None]
    assert functions.count("child") == 4
    assert endings(report) == ["cancelled"] * 6


@pytest.mark.parametrize("row", ["asyncio", "level", "trio"])
def test_tree_of_anyio(row: str) -> None:
    """In a task group of anyio, which asks for the state of its children's coroutines, each point is well."""
    if row == "trio":
        pytest.importorskip("trio")

    async def child() -> None:
        await anyio.sleep(0)
        await anyio.sleep(0)

    async def scenario() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            group.start_soon(child)

    report = sweep_cancellation(scenario, backend=row, scope="tree")
    assert len(report.points) >= 5
    assert {point.ending.value for point in report.points} <= {"cancelled", "completed-late"}


def test_tree_on_trio_is_the_same_each_time() -> None:
    """On trio the scheduler is seeded for each run, so that a point of the tree is the same one each time."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    orders: list[tuple[str, ...]] = []

    def make() -> Any:
        order: list[str] = []

        async def child(name: str) -> None:
            for _ in range(3):
                order.append(name)
                await trio.lowlevel.checkpoint()

        async def family() -> None:
            async with trio.open_nursery() as nursery:
                for name in "abcdef":
                    nursery.start_soon(child, name)
            orders.append(tuple(order))

        return family()

    state = trio._core._run._r.getstate()
    first = sweep_cancellation(make, backend="trio", scope="tree")
    second = sweep_cancellation(make, backend="trio", scope="tree")
    assert [point.place for point in first.points] == [point.place for point in second.points]
    assert len(set(orders)) == 1
    assert len(first.points) >= 6 * 3
    assert trio._core._run._r.getstate() == state


def test_scenario_that_fails_by_itself(row: str) -> None:
    """A scenario that raises when nobody cancels it cannot be swept, and its error is the cause."""

    async def fails() -> None:
        await checkpoint()
        raise OSError("no disk")

    with pytest.raises(SweepError, match="when nobody cancels it") as caught:
        sweep_cancellation(fails, backend=row)
    assert isinstance(caught.value.__cause__, OSError)


def test_hang_is_bounded(row: str) -> None:
    """A run that hangs is ended after its timeout, and reported with the line where it hangs."""

    async def hangs() -> None:
        await checkpoint()
        while True:
            time.monotonic()

    with pytest.raises(HangError, match=r"hangs at .*in test_hang_is_bounded.<locals>.hangs"):
        sweep_cancellation(hangs, backend=row, timeout=0.4)


def test_time_of_other_tasks_passes(row: str) -> None:
    """A scenario that polls gets its answer: the loop has its turns while nothing else is ready, too."""

    async def polls() -> None:
        import anyio

        with anyio.move_on_after(0.01) as scope:
            while True:
                await checkpoint()
        assert scope.cancelled_caught

    sweep_cancellation(polls, backend=row, cancel_at=0)


def test_other_tasks_get_their_turns(row: str) -> None:
    """A scenario that waits for another task by checkpoints sees it go on."""

    async def waits() -> None:
        import anyio

        done: list[int] = []

        async def worker() -> None:
            for number in range(5):
                await checkpoint()
                done.append(number)

        async with anyio.create_task_group() as group:
            group.start_soon(worker)
            while len(done) < 5:
                await checkpoint()

    report = sweep_cancellation(waits, backend=row, allowed=ALL)
    assert len(report.points) < 100


@pytest.mark.parametrize(
    "make, message",
    [
        (3, "takes a function, not 3 of type int"),
        (lambda: 3, "make.. gave 3 of type int, which cannot be run"),
    ],
)
def test_what_is_no_scenario(make: Any, message: str) -> None:
    """What makes no scenario is a TypeError that says what was given and what to write."""
    with pytest.raises(SourceTypeError, match=message):
        sweep_cancellation(make)


def test_bad_backends() -> None:
    """A backend without cancellation, or one that does not exist, is a LookupError."""
    with pytest.raises(UnknownBackendError, match="has no cancellation"):
        sweep_cancellation(three_waits, backend="bare")
    with pytest.raises(UnknownBackendError, match="no backend 'curio'"):
        sweep_cancellation(three_waits, backend="curio")


def test_inside_a_loop_it_is_refused() -> None:
    """Where a loop runs already, it says so at once."""

    async def main() -> None:
        sweep_cancellation(three_waits)

    with pytest.raises(RunningLoopError, match=r"asyncio.to_thread"):
        asyncio.run(main())


def test_in_another_thread() -> None:
    """It works in any thread, `asyncio.to_thread` included."""

    def sweep() -> SweepReport:
        return sweep_cancellation(three_waits)

    async def main() -> SweepReport:
        return await asyncio.to_thread(sweep)

    assert len(asyncio.run(main()).points) == 4


def test_works_with_virtual_time() -> None:
    """A row with virtual time sleeps for hours at each point in no time."""

    async def sleeps() -> None:
        await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    began = time.monotonic()
    report = sweep_cancellation(sleeps, backend=get_backend("asyncio").with_virtual_time())
    assert endings(report) == ["cancelled"] * 3
    assert time.monotonic() - began < 30


def test_cancellation_that_leads_to_a_hang() -> None:
    """A scenario that hangs when it is cancelled is reported as that, with the point."""

    async def hangs() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    with pytest.raises(HangError, match="cancelled at point 0"):
        sweep_cancellation(hangs, timeout=0.4, cancel_at=0)


def test_cancellation_that_stops_the_loop() -> None:
    """A scenario that takes the event loop down when it is cancelled has raised at that point."""

    async def stops() -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            asyncio.get_running_loop().stop()
            await asyncio.sleep(1)

    report = sweep_cancellation(stops, cancel_at=0, allowed=["raised"])
    assert endings(report) == ["raised"]
    assert "Event loop stopped" in str(report.points[0].error)


def test_tree_counts_cleanups() -> None:
    """In `scope="tree"` a suspension in the cleanup of a child task that was cancelled is a point, too."""

    async def child() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)

    async def scenario() -> None:
        task = asyncio.get_running_loop().create_task(child())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    report = sweep_cancellation(scenario, scope="tree")
    functions = [point.place.function.rpartition(".")[2] for point in report.points if point.place is not None]
    assert functions == ["scenario", "child", "scenario", "child"]


def test_scenario_that_a_function_gives() -> None:
    """A factory may give an async function instead of a coroutine, beside a state for `check`."""
    states: list[object] = []
    report = sweep_cancellation(lambda: (three_waits, "state"), check=lambda state, _: states.append(state))
    assert endings(report) == ["cancelled"] * 4
    assert states == ["state"] * 4
