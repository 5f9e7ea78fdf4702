"""What sweeps give: points and reports, as values and as text."""

from __future__ import annotations

import pytest

from asyncgen_tools.errors import SweepError
from asyncgen_tools.testing import Ending, Place, SweepPoint, SweepReport
from asyncgen_tools.testing.harness.watching import frames_below
from asyncgen_tools.testing.sweeps import judge

PLACE = Place("file.py", 3, "function")


def test_points_as_text() -> None:
    """A point says its number, what was done, where, how it ended, and what is wrong with that."""
    point = SweepPoint(2, "cancel", PLACE, Ending.RAISED, OSError("lost"), "not allowed")
    assert str(point) == f"point 2 (cancel) at {PLACE}: raised OSError('lost'): not allowed"
    assert str(SweepPoint(-1, "cancel", None, Ending.CANCELLED)) == "entry (cancel): cancelled"


def test_what_check_raised_is_said_once() -> None:
    """What the scenario raised and what `check` raised are told apart, and each is said once."""

    def object_to(state: object, point: SweepPoint) -> None:
        raise AssertionError(state, point.number)

    cancelled = judge(SweepPoint(0, "cancel", None, Ending.CANCELLED), allowed=["cancelled"], state=1, check=object_to)
    assert str(cancelled) == "point 0 (cancel): cancelled: check raised AssertionError(1, 0)"
    assert cancelled.error is None
    both = judge(SweepPoint(0, "cancel", None, Ending.RAISED), allowed=["cancelled"], state=1, check=object_to)
    assert both.problem == "allowed are cancelled; check raised AssertionError(1, 0)"
    lost = OSError("lost")
    raised = judge(SweepPoint(0, "cancel", None, Ending.RAISED, lost), allowed=["raised"], state=1, check=object_to)
    assert str(raised) == "point 0 (cancel): raised OSError('lost'): check raised AssertionError(1, 0)"
    assert raised.error is lost
    for point in (cancelled, raised):
        with pytest.raises(SweepError) as caught:
            SweepReport("scenario", "asyncio", (point,)).raise_problems(replay="cancel_at")
        assert isinstance(caught.value.__cause__, AssertionError)
        assert caught.value.__cause__ is point.objection


def test_swallowed_comes_with_advice() -> None:
    """A cancellation that was swallowed is a problem of which the text says what to write instead."""
    point = SweepPoint(0, "cancel", None, Ending.SWALLOWED)
    problem = judge(point, allowed=["cancelled"], state=None, check=None).problem
    assert problem == "raise the cancellation again after the cleanup; allowed are cancelled"


def test_judging() -> None:
    """An ending that is not allowed is a problem, and so is what `check` raises; a point not reached is none."""
    point = SweepPoint(0, "cancel", PLACE, Ending.COMPLETED_LATE)
    assert judge(point, allowed=["completed-late"], state=None, check=None) is point
    assert judge(point, allowed=["cancelled"], state=None, check=None).problem == "allowed are cancelled"
    missed = SweepPoint(0, "cancel", None, Ending.NOT_REACHED)

    def object_to(state: object, point: SweepPoint) -> None:
        raise AssertionError(state, point.number)

    assert judge(missed, allowed=["cancelled"], state=1, check=object_to) is missed
    assert "AssertionError(1, 0)" in str(judge(point, allowed=["completed-late"], state=1, check=object_to))


def test_report_raises_its_problems() -> None:
    """A report without problems raises nothing; else a SweepError lists them and carries the report."""
    good = SweepPoint(0, "cancel", PLACE, Ending.CANCELLED)
    SweepReport("scenario", "asyncio", (good,)).raise_problems(replay="cancel_at")
    bad = SweepPoint(1, "cancel", PLACE, Ending.SWALLOWED, None, "not allowed")
    report = SweepReport("scenario", "asyncio", (good, bad))
    assert report.problems == (bad,)
    with pytest.raises(SweepError, match="1 of 2 points of scenario on asyncio went wrong") as caught:
        report.raise_problems(replay="cancel_at")
    assert caught.value.report is report
    assert str(good) not in str(caught.value)
    assert str(good) in str(report)


def test_frames_of_a_ring() -> None:
    """What awaits itself, by however many others, has as many frames as are looked at, and no more."""

    class Ring:
        @property
        def cr_await(self) -> Ring:
            return self

    assert frames_below(Ring()) == []
