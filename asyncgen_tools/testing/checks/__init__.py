"""The checks of `check_async_generator`: one entry for each code, in the order in which they run.

Each check is a function that takes a `Trial`. A new one gets its entry here, a generator in tests/shelf/broken.py that
it alone rejects, and its line in docs/explanation/pep-789-and-pep-533-hazards.md.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from asyncgen_tools.testing.checks.cancelling import (
    check_cancel_swallowed,
    check_cleanup_needs_shield,
    check_no_checkpoint,
)
from asyncgen_tools.testing.checks.endings import check_exhausted, check_ignored_exit, check_leak
from asyncgen_tools.testing.checks.operations import check_protocol, check_reentrancy, check_wrong_task
from asyncgen_tools.testing.checks.scopes import check_context_leak, check_scope_across_yield

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.testing.checks.trial import Trial

__all__ = ("CHECKS", "Check")


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        code: its stable name.
        function: looks at a generator, and raises.
        catches: what it rejects, in a few words.
        advice: what to write instead.
        opt_in: whether it runs only where it is asked for.
    """

    code: str
    function: Callable[[Trial], None]
    catches: str
    advice: str
    opt_in: bool = False


#: Every check, by its code.
CHECKS: Final = {
    check.code: check
    for check in (
        Check(
            "leak",
            check_leak,
            "an async generator that is left unfinished",
            "Iterate inner generators in `async with contextlib.aclosing(inner):`, or delegate by `await "
            "yield_from(inner)`.",
        ),
        Check(
            "ignored-exit",
            check_ignored_exit,
            "a yield after GeneratorExit",
            "Catch `Exception` and not everything around a `yield`, and do not yield in `finally`.",
        ),
        Check(
            "scope-across-yield",
            check_scope_across_yield,
            "a cancel scope, nursery, timeout or task group that is open while the generator is suspended (PEP 789)",
            "Leave the scope before the `yield`, or run the generator in a task of its own: `async with "
            "hosted(source):`.",
        ),
        Check(
            "context-leak",
            check_context_leak,
            "a context variable of the consumer that a step changes",
            "Reset the variable before each `yield`, or run the generator in a context of its own: `hosted(source)`.",
        ),
        Check(
            "cleanup-needs-shield",
            check_cleanup_needs_shield,
            "cleanup that awaits and so fails in a cancelled scope (trio, anyio)",
            "Shield it, with a deadline: `with anyio.move_on_after(5, shield=True): await ...`.",
        ),
        Check(
            "cancel-swallowed",
            check_cancel_swallowed,
            "a cancellation after which the step returns normally",
            "Catch a cancellation only to clean up, and raise it again.",
        ),
        Check(
            "reentrancy",
            check_reentrancy,
            "a second operation, while one is running, that does not raise or that disturbs the first",
            "Raise RuntimeError before anything else is done, as native async generators do.",
        ),
        Check(
            "exhausted",
            check_exhausted,
            "a generator that does not stay finished, or that cannot be closed twice",
            "Once ended or closed, raise StopAsyncIteration for ever, and let aclose() do nothing.",
        ),
        Check(
            "protocol",
            check_protocol,
            "operations that mean something else than those of a native async generator",
            "Write a native async generator, or hand every operation on: `@delegating` with `await yield_from(inner)`.",
        ),
        Check(
            "wrong-task",
            check_wrong_task,
            "a step or a close that fails in another task",
            "Keep nothing of a task's over a `yield`, or run the generator in a task of its own: `hosted(source)`.",
            opt_in=True,
        ),
        Check(
            "no-checkpoint",
            check_no_checkpoint,
            "a step without a checkpoint (trio)",
            "Await `trio.lowlevel.checkpoint()` before each `yield`.",
            opt_in=True,
        ),
    )
}
