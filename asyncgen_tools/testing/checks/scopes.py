"""Checks of what a generator keeps open, or changes, while it is suspended: `scope-across-yield`, `context-leak`.

What a suspended generator holds is on its stack: `gc.get_referents` gives the exit method of each active `with`, also
those of generators that it iterates and of `contextlib` helpers. Where a scope is entered by hand, in the class of
somebody's own context manager, the task tells: it is in another scope, or has another nursery, than before the step.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextvars
import gc
import types
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools.loops.admission import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncgen_tools.testing.checks.trial import Trial

__all__ = ("check_context_leak", "check_scope_across_yield", "open_scopes")

EXITS: Final = {"__exit__", "__aexit__"}
#: The classes of scopes, by module and name. Only those that are loaded can be open.
SCOPES: Final = (
    ("asyncio.timeouts", "Timeout"),
    ("asyncio.taskgroups", "TaskGroup"),
    ("trio", "CancelScope"),
    ("trio._core._run", "NurseryManager"),
    ("anyio", "CancelScope"),
    ("anyio.abc", "TaskGroup"),
    ("async_timeout", "Timeout"),
    ("quattro", "TaskGroup"),
)
DEEPEST: Final = 100


def check_scope_across_yield(trial: Trial) -> None:
    """No cancel scope, nursery, timeout or task group is open while the generator is suspended (PEP 789)."""
    trial.run(partial(scopes_at_yields, trial))


async def scopes_at_yields(trial: Trial) -> None:
    """Step a generator through its yields, and look for open scopes at each."""
    source = trial.new()
    before = trial.harness.scopes()
    for _ in range(trial.subject.yields):
        if not await trial.advance(source, 1):
            break
        scopes = open_scopes(source)
        inside = trial.harness.scopes() != before
        if scopes or inside:
            name = " and ".join(dict.fromkeys(scopes)) or "a cancel scope or nursery"
            place = trial.place_of(source)
            await trial.finish(source)
            trial.fail(f"yielded with {name} open", place)
    await trial.finish(source)


def open_scopes(source: object) -> list[str]:
    """The names of the classes of the scopes that a suspended generator holds, outermost first.

    Args:
        source: a generator, or something around one.
    """
    kinds = tuple(kind for module, name in SCOPES if isinstance(kind := loaded(module, name), type))
    return [type(manager).__name__ for manager in held_managers(source, set(), 0) if is_open(manager, kinds)]


def is_open(manager: object, kinds: tuple[type, ...]) -> bool:
    """Whether an entered manager is a scope, or its own attributes hold a timeout or task group that is active."""
    if isinstance(manager, kinds):
        return True
    held = vars(manager).values() if hasattr(manager, "__dict__") else ()
    return any(isinstance(value, kinds) and is_active(value) for value in held)


def is_active(scope: Any) -> bool:
    """Whether a scope that somebody else entered has not been left; one that does not tell has been."""
    if type(scope).__module__ == "asyncio.timeouts":
        return getattr(scope, "_state", None) is not None and scope._state.value == "active"
    if type(scope).__module__ == "asyncio.taskgroups":
        return bool(getattr(scope, "_entered", False)) and not getattr(scope, "_exiting", True)
    return False  # trio's and anyio's show in the task


def held_managers(holder: object, seen: set[int], depth: int) -> Iterator[object]:
    """The context managers whose block a suspended generator is in, those of inner generators included."""
    if id(holder) in seen or depth > DEEPEST:
        return
    seen.add(id(holder))
    for held in list(referents(holder)):
        if isinstance(held, types.MethodType | types.BuiltinMethodType) and held.__name__ in EXITS:
            manager = held.__self__
            yield manager
            inner = getattr(manager, "gen", None)  # of contextlib
            if is_generator(inner):
                yield from held_managers(inner, seen, depth + 1)
            for callback in getattr(manager, "_exit_callbacks", ()):  # of an ExitStack
                yield from held_managers(callback, seen, depth + 1)
        elif is_generator(held):
            yield from held_managers(held, seen, depth + 1)


def referents(holder: object) -> Iterator[object]:
    """What a generator's frame, or a plain object around a generator, refers to."""
    if isinstance(holder, types.GeneratorType | types.AsyncGeneratorType | types.CoroutineType | tuple):
        for held in gc.get_referents(holder):
            yield held
            if isinstance(held, types.FrameType):  # a frame that was asked for owns what the generator owned
                yield from gc.get_referents(held)
    elif hasattr(holder, "__dict__"):
        yield from (value for value in vars(holder).values() if is_generator(value))
    else:
        yield from (value for value in gc.get_referents(holder) if is_generator(value))


def is_generator(value: object) -> bool:
    """Whether something is a generator, sync or async, or behaves like one."""
    return isinstance(value, types.GeneratorType | types.AsyncGeneratorType) or hasattr(type(value), "ag_frame")


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
