"""What comes of a step, besides what the host itself tells; and errors that wait until everything was closed.

Errors keep their identity: groups are only taken apart to leave out what this library itself has brought in, its
cancellation of a step and GeneratorExit.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast, final

from asyncgen_tools.host import Carried, Marker, own_frames, strip_own_frames
from asyncgen_tools.loops.admission import context_error, is_entered
from asyncgen_tools.steps import Outcome, Raised, Returned, stop_value

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from asyncgen_tools.host import Host

    Kinds: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]

__all__ = (
    "RESULTS",
    "Refused",
    "collect",
    "consists_of",
    "failure_in",
    "is_exit",
    "outcome_of",
    "raise_all",
    "replaced",
    "resumed",
    "without",
)


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """A step that was not taken, and why; nothing has changed."""

    error: Exception


#: What comes of a step; anything else is a message to the event loop.
RESULTS: Final = frozenset((Marker, Returned, Raised, Refused))


def resumed(host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
    """Call `function(argument)`, a send or throw of the host's coroutine, in the host's context and in its own task.

    If the context is in use just now, the source cannot be resumed in it. It is told, and goes on in a copy.

    Returns:
        A message to the event loop, a marker, or the outcome that the coroutine's end means.
    """
    try:
        try:
            return host.context.run(function, argument)
        except RuntimeError:
            if host.body.gi_frame is None or not is_entered(host.context):
                raise
            host.context = host.context.copy()
            return host.context.run(host.body.throw, context_error())
    except BaseException as exc:
        return outcome_of(exc)
    finally:
        del argument  # or an exception and this frame would keep each other alive


def outcome_of(exc: BaseException) -> Outcome:
    """What an exception out of a host means for the generator."""
    if isinstance(exc, StopAsyncIteration):
        return Returned(stop_value(exc))
    if type(exc) is StopIteration:  # the host's coroutine has ended: the source was closed
        return Returned()
    return Raised(strip_own_frames(exc.error if isinstance(exc, Carried) else exc))


def is_exit(exc: BaseException) -> bool:
    """Whether an exception is GeneratorExit, or a group of nothing else, as task groups and nurseries make it."""
    return consists_of(exc, GeneratorExit)


def consists_of(exc: BaseException, kinds: Kinds) -> bool:
    """Whether an exception is of these kinds, or a group of nothing else."""
    return without(exc, kinds) is None


def without(exc: BaseException, kinds: Kinds) -> BaseException | None:
    """What is left of an exception without those of these kinds, in groups as well; None if it is nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exc).split(kinds)[1]
    return None if isinstance(exc, kinds) else exc


def failure_in(exc: BaseException, cancelled: Kinds) -> BaseException | None:
    """What a task group or nursery failed with besides cancellations; a single error without the groups around it."""
    error = without(exc, cancelled)
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return failure_in(group.exceptions[0], cancelled) if len(group.exceptions) == 1 else group


def replaced(outcome: object, error: BaseException, *, cancelled: Kinds) -> Outcome:
    """What comes of a step that this library has cancelled.

    Args:
        outcome: how the step ended.
        error: why it was cancelled, which is raised in place of the cancellation.
        cancelled: the event loop's class of cancellation, or several.
    """
    if isinstance(outcome, Raised):
        rest = without(outcome.error, cancelled)  # a nursery puts the cancellations of its children into a group
        if rest is None:
            error.__cause__ = outcome.error
        elif isinstance(error, TimeoutError) and not is_exit(rest):
            return Raised(rest)
        else:
            error.__context__ = rest
    return Raised(error)


def collect(errors: list[BaseException], function: Callable[[], object]) -> None:
    """Call the function; put what it raises on the list."""
    try:
        function()
    except BaseException as exc:
        errors.append(exc)


def raise_all(errors: list[BaseException], message: str) -> None:
    """Raise what was collected, if anything: one error as it is, several as a group."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(message, errors)


own_frames(resumed)
