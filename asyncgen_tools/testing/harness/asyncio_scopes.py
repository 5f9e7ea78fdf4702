"""The scopes in which a task of asyncio is: its timeouts and task groups, and anyio's scopes.

Nothing of asyncio's lists the timeouts and task groups of a task, but each of them keeps the task that has entered it,
so the garbage collector finds them among what refers to the task, wherever they are held: on a stack, in an attribute
or in a closure. Those of other tasks are not among them. It looks through all objects for that, 2 to 4 ms for each
100,000.

Two ways that are faster lost. What a suspended generator refers to does not lead to all of its scopes, and since 3.14
its frame holds no bound exit method. And who takes the young objects from `gc.get_objects` holds the tuples, too, that
other threads are about to fill, which is an error there.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools.loops.admission import loaded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ("anyio_scopes", "named", "owned_scopes")

#: The classes of scopes: module, name, and the attribute that keeps the task. Only those that are loaded can be open.
SCOPES: Final = (
    ("asyncio.timeouts", "Timeout", "_task"),
    ("asyncio.taskgroups", "TaskGroup", "_parent_task"),  # quattro's is a subclass
    ("async_timeout", "Timeout", "_task"),  # from 5.0 on a subclass of asyncio's
)
OWNERS: Final = {attribute for _, _, attribute in SCOPES}
LEFT: Final = {"EXPIRED", "EXITED"}  # states of a timeout


def owned_scopes(task: asyncio.Task[Any] | None) -> list[Any]:
    """The timeouts and task groups that a task has entered and not left, in no particular order."""
    kinds = [(kind, owner) for module, name, owner in SCOPES if isinstance(kind := loaded(module, name), type)]
    return [
        holder
        for holder in holders(task, OWNERS)
        if any(issubclass(type(holder), kind) and getattr(holder, owner, None) is task for kind, owner in kinds)
        and is_open(holder)
    ]


def holders(held: object, names: Collection[str]) -> list[Any]:
    """What refers to something, be it by a dictionary of attributes that has it under one of some names."""
    direct: list[Any] = gc.get_referrers(held)
    attributes = [one for one in direct if type(one) is dict and any(one.get(name) is held for name in names)]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of anything
    return direct + gc.get_referrers(*attributes) if attributes else direct


def is_open(scope: Any) -> bool:
    """Whether a scope that was entered has not been left."""
    state: object = getattr(getattr(scope, "_state", None), "name", None)
    return state not in LEFT and not getattr(scope, "_exiting", False)


def anyio_scopes() -> Iterator[Any]:
    """Anyio's scopes in which the current task is, innermost first."""
    backend: Any = sys.modules.get("anyio._backends._asyncio")
    state: Any = getattr(backend, "_task_states", {}).get(asyncio.current_task())
    scope: Any = getattr(state, "cancel_scope", None)
    while scope is not None:
        yield scope
        scope = getattr(scope, "_parent_scope", None)


def named(scope: object) -> str:
    """The name of a scope's class, or of the class of the task group to which a scope of anyio's belongs."""
    kind: Any = loaded("anyio.abc", "TaskGroup") or ()
    groups = [held for held in holders(scope, {"cancel_scope"}) if issubclass(type(held), kind)]
    return type(groups[0] if groups else scope).__name__
