"""Checks of what a generator keeps open, or changes, while it is suspended: `scope-across-yield`, `context-leak`.

The task tells what is open: it is in another scope, or has another task group or nursery, than before the step. So what
counts is who owns a scope, and not who holds it: a generator may hold one that is another task's.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextvars
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncgen_tools.testing.checks.trial import Trial

__all__ = ("check_context_leak", "check_scope_across_yield")


def check_scope_across_yield(trial: Trial) -> None:
    """No cancel scope, nursery, timeout or task group is open while the generator is suspended (PEP 789)."""
    trial.run(partial(scopes_at_yields, trial))


async def scopes_at_yields(trial: Trial) -> None:
    """Step a generator through its yields, and look for open scopes at each."""
    entered = trial.harness.entered_scopes()
    source = trial.new()
    for _ in range(trial.subject.yields):
        if not await trial.advance(source, 1):
            break
        names = sorted({trial.harness.named(scope) for scope in entered()})
        if names:
            place = trial.place_of(source)
            await trial.finish(source)
            trial.fail(f"yielded with {' and '.join(names)} open", place)
    await trial.finish(source)


def check_context_leak(trial: Trial) -> None:
    """No step, and no way to end, changes a context variable of the consumer."""
    for operation in ("", *sorted(trial.subject.methods & {"aclose", "athrow"})):
        trial.run(partial(context_after, trial, operation))


async def context_after(trial: Trial, operation: str) -> None:
    """Step a generator, end it, and compare the context after each step."""
    source = trial.new()
    count = 1 if operation else trial.subject.yields + 1
    for _ in range(count):
        before = context()
        taken = await trial.step(source)
        if not await unchanged(trial, source, before) or not taken.went_on:
            return
    if operation:
        before = context()
        await trial.step(source, operation)
        await unchanged(trial, source, before)
    await trial.finish(source)


async def unchanged(trial: Trial, source: Any, before: dict[contextvars.ContextVar[Any], Any]) -> bool:
    """Fail if the context differs from what it was before."""
    after = context()
    changed = [var for var in {**before, **after} if before.get(var, before) is not after.get(var, before)]
    # decimal makes its context when it is first asked for; that changes nothing for anybody.
    changed = [var for var in changed if not (var.name == "decimal_context" and var not in before)]
    if changed:
        place = trial.place_of(source)
        await trial.finish(source)
        trial.fail(f"changed the context variable {changed[0].name!r} of its consumer", place)
    return True


def context() -> dict[contextvars.ContextVar[Any], Any]:
    """The context variables of the current task, and their values."""
    return dict(contextvars.copy_context().items())
