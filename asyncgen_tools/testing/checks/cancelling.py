"""Checks of cancellation: `cleanup-needs-shield`, `cancel-swallowed`, and of suspension at all: `no-checkpoint`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from asyncgen_tools.testing.checks.trial import MOST_SUSPENSIONS, NotApplicable
from asyncgen_tools.testing.harness.watching import ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncgen_tools.testing.checks.trial import Taken, Trial
    from asyncgen_tools.testing.harness.base import Scope

__all__ = ("check_cancel_swallowed", "check_cleanup_needs_shield", "check_no_checkpoint")


def require_cancellation(trial: Trial) -> None:
    """Skip where nothing is ever cancelled."""
    if trial.subject.backend.cancellation == "none":
        raise NotApplicable(f"{trial.subject.backend.id} has no cancellation")


def operations(trial: Trial) -> Iterator[tuple[int, str]]:
    """Each step that may be cancelled: how many yields come before it, and what it is."""
    for count in range(trial.subject.yields + 1):
        yield count, "anext"
        if count and "aclose" in trial.subject.methods:
            yield count, "aclose"


def suspensions(trial: Trial, count: int) -> int:
    """How many suspensions there are to look at in the step after so many yields."""
    known = trial.subject.suspensions
    return min(known[count], MOST_SUSPENSIONS) if count < len(known) else 0


def check_cleanup_needs_shield(trial: Trial) -> None:
    """Cleanup awaits nothing that fails under level cancellation, which cancels every await and not only one."""
    require_cancellation(trial)
    for count, operation in operations(trial):
        if operation == "aclose":
            trial.run(partial(close_in_cancelled_scope, trial, count))
        else:
            for number in range(suspensions(trial, count)):
                trial.run(partial(clean_up_after_cancellation, trial, count, number))


async def close_in_cancelled_scope(trial: Trial, count: int) -> None:
    """Close a generator where everything is cancelled already."""
    taken = await cancelled_step(trial, count, "aclose", at=ENTRY, scope=trial.harness.level_scope())
    struck = [delivery for delivery in taken.watch.due(level=True) if not delivery.closing]
    if struck:
        trial.fail(
            f"awaits in its cleanup at yield {count}, where a cancelled scope cuts it short",
            trial.line(struck[0].places),
        )


async def clean_up_after_cancellation(trial: Trial, count: int, number: int) -> None:
    """Cancel a step at one of its suspensions."""
    taken = await cancelled_step(trial, count, "anext", at=number, scope=trial.harness.level_scope())
    deliveries = taken.watch.due(level=True)
    struck = [again for again in deliveries[1:] if not again.closing and again.places != deliveries[0].places]
    if struck:
        trial.fail("awaits in its cleanup after a cancellation, which cuts it short", trial.line(struck[0].places))


async def cancelled_step(trial: Trial, count: int, operation: str, *, at: int, scope: Scope) -> Taken:
    """Take a step of a new generator in a scope that is cancelled at one of the step's suspensions.

    The scope is around all of the generator's life, so that scopes which that holds over a yield are within it.
    """
    taken: Taken | None = None
    with scope:
        source = trial.new()
        await trial.advance(source, count)
        taken = await trial.step(source, operation, at=at, action=scope.cancel, sent=scope.sent)
        await trial.finish(source)
    await trial.harness.absorb()
    assert taken is not None  # steps raise nothing that the scope could catch
    return taken


def check_cancel_swallowed(trial: Trial) -> None:
    """A step to which a cancellation was delivered does not return as if nothing had happened."""
    require_cancellation(trial)
    for count, operation in operations(trial):
        known = suspensions(trial, count) if operation == "anext" else MOST_SUSPENSIONS
        for number in range(known):
            if not trial.run(partial(cancel_at, trial, count, operation, number)):
                break


async def cancel_at(trial: Trial, count: int, operation: str, number: int) -> bool:
    """Cancel a step at one of its suspensions; whether there is one with that number."""
    taken = await cancelled_step(trial, count, operation, at=number, scope=trial.harness.scope())
    deliveries = taken.watch.due(level=trial.harness.level)
    if deliveries and taken.went_on:
        trial.fail(
            f"was cancelled at its suspension {number + 1} and went on as if it had not been",
            trial.line(deliveries[0].places),
        )
    return taken.watch.reached()


def check_no_checkpoint(trial: Trial) -> None:
    """Each step suspends at least once, so that no consumer's loop goes on without a checkpoint (trio's own rule)."""
    if trial.subject.backend.name != "trio":
        raise NotApplicable("only trio asks for a checkpoint in each step")
    trial.run(partial(checkpoints, trial))


async def checkpoints(trial: Trial) -> None:
    """Step a generator through its yields, and count suspensions."""
    source = trial.new()
    for _ in range(trial.subject.yields):
        taken = await trial.step(source)
        if taken.went_on and not taken.watch.suspensions:
            place = trial.place_of(source)
            await trial.finish(source)
            trial.fail("ended without a checkpoint", place)
    await trial.finish(source)
