"""Checks of how a generator ends: `leak`, `ignored-exit`, `exhausted`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from asyncgen_tools.steps import Raised, Yielded
from asyncgen_tools.testing.checks.trial import NotApplicable
from asyncgen_tools.testing.leaks import track_async_generators

if TYPE_CHECKING:
    from asyncgen_tools.testing.checks.trial import Trial

__all__ = ("check_exhausted", "check_ignored_exit", "check_leak")

AGAIN = 2  # how often a finished generator is asked again


def check_leak(trial: Trial) -> None:
    """Every async generator that was begun is finished when the generator has ended, been closed, or raised."""
    subject = trial.subject
    if not subject.ended and "aclose" not in subject.methods:
        raise NotApplicable("it does not end, and has no aclose()")
    if subject.ended:
        trial.run(partial(leak_after, trial, "its end", subject.yields + 1, None))
    for count in range(1, subject.yields + 1):
        if "aclose" in subject.methods:
            trial.run(partial(leak_after, trial, "aclose()", count, "aclose"))
        if "athrow" in subject.methods:
            trial.run(partial(leak_after, trial, "athrow()", count, "athrow"))


async def leak_after(trial: Trial, ending: str, count: int, operation: str | None) -> None:
    """Step a generator, end it somehow, drop it, and look at what is left."""
    with track_async_generators() as tracker:
        source = trial.new()
        trial.kept.clear()  # it is to be dropped
        await trial.advance(source, count)
        ignored_exit = False
        if operation is not None:
            taken = await trial.step(source, operation)
            ignored_exit = taken.ignored_exit
        if await trial.finish(source) or ignored_exit:
            return  # which another check is for
        del source
        await trial.harness.settle()
    if tracker.leaks:
        leak = tracker.leaks[0]
        # The generator itself is first iterated by the check.
        itself = leak.name.endswith(trial.subject.name)
        trial.fail(
            f"left {leak.name} unfinished ({leak.kind.value}) after {ending}, suspended at {leak.suspended_at}",
            leak.suspended_at if itself else leak.first_iterated,
        )


def check_ignored_exit(trial: Trial) -> None:
    """A generator that is closed at a yield does not yield again."""
    if not trial.subject.methods & {"aclose", "athrow"}:
        raise NotApplicable("it has neither aclose() nor athrow()")
    for count in range(1, trial.subject.yields + 1):
        for operation in sorted(trial.subject.methods & {"aclose", "athrow"}):
            trial.run(partial(exit_at, trial, count, operation))


async def exit_at(trial: Trial, count: int, operation: str) -> None:
    """Have GeneratorExit raised at a yield."""
    source = trial.new()
    await trial.reach(source, count)
    taken = await trial.step(source, operation, *([GeneratorExit()] if operation == "athrow" else []))
    if taken.ignored_exit or isinstance(taken.outcome, Yielded):
        place = trial.place_of(source)
        await trial.finish(source)
        trial.fail(f"yielded after GeneratorExit was raised at yield {count}", place)
    await trial.finish(source)


def check_exhausted(trial: Trial) -> None:
    """A generator that has ended stays ended, and closing it again does nothing."""
    subject = trial.subject
    if not subject.ended and "aclose" not in subject.methods:
        raise NotApplicable("it does not end, and has no aclose()")
    if subject.ended:
        trial.run(partial(stays_ended, trial, subject.yields, "anext"))
    if "aclose" in subject.methods:
        trial.run(partial(stays_ended, trial, min(1, subject.yields), "aclose"))
    if "athrow" in subject.methods:
        trial.run(partial(stays_ended, trial, min(1, subject.yields), "athrow"))


async def stays_ended(trial: Trial, count: int, operation: str) -> None:
    """End a generator, and ask it for more."""
    source = trial.new()
    await trial.reach(source, count)
    taken = await trial.step(source, operation)
    if operation == "anext" and isinstance(taken.outcome, Yielded):
        raise trial.unlike("yielded, as it did not")
    if operation == "athrow" and taken.went_on:
        await trial.finish(source)
        return
    if operation == "aclose" and isinstance(taken.outcome, Raised):
        await trial.finish(source)
        return  # what its own cleanup raises, and an ignored exit, are not the matter here
    for asked in ["anext"] * AGAIN + (["asend"] if "asend" in trial.subject.methods else []):
        taken = await trial.step(source, asked)
        if taken.taken_for_running:
            return  # pragma: no cover  # before 3.13
        if isinstance(taken.outcome, Yielded):
            value, place = taken.outcome.value, trial.place_of(source)
            await trial.finish(source)
            trial.fail(f"yielded {value!r} after the generator had ended", place)
        if isinstance(taken.outcome, Raised) and (trial.subject.is_generator or operation == "anext"):
            error = taken.outcome.error
            trial.fail(
                f"raised {error!r} after the generator had ended, instead of StopAsyncIteration", trial.raised_at(error)
            )
    if "aclose" in trial.subject.methods:
        for _ in range(AGAIN):
            taken = await trial.step(source, "aclose")
            if isinstance(taken.outcome, Raised):
                error = taken.outcome.error
                trial.fail(f"raised {error!r}, though the generator had ended", trial.raised_at(error))
