"""How CPython's own sync and async generators differ, by name, and `assert_same_trace`, which allows for it.

What a comparison finds beyond the table `DIFFERENCES` is a finding. Each difference is a function that gives a trace as
it would be without it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

from asyncgen_tools.errors import ArgumentValueError, TraceError
from asyncgen_tools.steps import Operation, Returned, Yielded
from asyncgen_tools.testing.traces import Failed, SeenError, Trace, TraceStep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

__all__ = ("DIFFERENCES", "Difference", "assert_same_trace", "is_refused")


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which CPython's own sync and async generators differ, or those of its versions.

    Attributes:
        name: its key in `DIFFERENCES`.
        rule: what the difference is.
        without: gives a trace as it would be without the difference.
    """

    name: str
    rule: str
    without: Callable[[Sequence[TraceStep]], Sequence[TraceStep]]


def without_message_texts(steps: Sequence[TraceStep]) -> Sequence[TraceStep]:
    """Every error in the words of the sync language."""
    return [
        replace(
            step,
            outcome=Failed(in_sync_words(step.outcome.error)) if isinstance(step.outcome, Failed) else step.outcome,
            notes=tuple(in_sync_words(note) if isinstance(note, SeenError) else note for note in step.notes),
        )
        for step in steps
    ]


def in_sync_words(error: SeenError) -> SeenError:
    """An error in the words of the sync language."""
    args = tuple(
        argument.replace("async generator", "generator").replace("StopAsyncIteration", "StopIteration")
        if isinstance(argument, str)
        else argument
        for argument in error.args
    )
    kind = StopIteration if error.kind is StopAsyncIteration else error.kind
    cause = None if error.cause is None else in_sync_words(error.cause)
    return SeenError(kind, args, cause, error.thrown)


def without_throw_after_end(steps: Sequence[TraceStep]) -> Sequence[TraceStep]:
    """Nothing comes of a throw when the generator has ended."""
    ended = False
    found: list[TraceStep] = []
    for step in steps:
        throws = ended and step.step.operation is Operation.THROW
        found.append(replace(step, outcome=Returned()) if throws else step)
        ended = ended or ends(step)
    return found


def ends(step: TraceStep) -> bool:
    """Whether the generator has ended with this step."""
    if isinstance(step.outcome, Yielded):
        return False
    return not (is_refused(step) or ignores_exit(step))


def is_refused(step: TraceStep) -> bool:
    """Whether it was `send(value)` to a generator that had not begun."""
    return isinstance(step.outcome, Failed) and any("just-started" in str(arg) for arg in step.outcome.error.args)


def ignores_exit(step: TraceStep) -> bool:
    """Whether the generator has yielded when it was closed."""
    return (
        step.step.operation is Operation.CLOSE
        and isinstance(step.outcome, Failed)
        and any("generator ignored GeneratorExit" in str(arg) for arg in step.outcome.error.args)
    )


def without_what_follows_ignored_exit(steps: Sequence[TraceStep]) -> Sequence[TraceStep]:
    """Nothing follows a close that the generator ignored."""
    for index, step in enumerate(steps):
        if ignores_exit(step):
            return steps[: index + 1]
    return steps


#: By name, how CPython's own sync and async generators differ.
DIFFERENCES: Final[Mapping[str, Difference]] = {
    difference.name: difference
    for difference in (
        Difference(
            "message-texts",
            "Messages say `async generator` and StopAsyncIteration, or `generator` and StopIteration.",
            without_message_texts,
        ),
        Difference(
            "throw-after-end",
            "`throw` on a finished sync generator raises what is thrown; `athrow` on an async one returns None.",
            without_throw_after_end,
        ),
        Difference(
            "after-ignored-exit",
            "A sync generator that ignored GeneratorExit goes on; of an async one, `aclose` raises StopAsyncIteration.",
            without_what_follows_ignored_exit,
        ),
    )
}


def assert_same_trace(a: Trace, b: Trace, /, *, allowed: Collection[str] = tuple(DIFFERENCES)) -> None:
    """Compare two traces.

    Args:
        a: one trace.
        b: the other one.
        allowed: names of `DIFFERENCES` that are no finding; by default all of them.

    Raises:
        TraceError: they differ; the message shows both, and marks where they part (AssertionError).
        ArgumentValueError: there is no difference of that name (ValueError).

    >>> from asyncgen_tools.steps import NEXT
    >>> from asyncgen_tools.testing.traces import record
    >>> one, other = (record((letter for letter in letters), [NEXT, NEXT]) for letters in ("ab", "ac"))
    >>> try:
    ...     assert_same_trace(one, other)
    ... except AssertionError as error:
    ...     print(error)
    The traces differ from operation 2 on.
    one:
      next -> yielded 'a'
    > next -> yielded 'b'
    the other:
      next -> yielded 'a'
    > next -> yielded 'c'
    Allowed differences: message-texts, throw-after-end, after-ignored-exit.
    """
    left, right = a.steps, b.steps
    for name in allowed:
        if name not in DIFFERENCES:
            raise ArgumentValueError(
                f"There is no difference {name!r} that could be allowed. The differences are: {', '.join(DIFFERENCES)}."
            )
        without = DIFFERENCES[name].without
        left, right = tuple(without(left)), tuple(without(right))
    if left == right:
        return
    same = next((i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y), min(len(left), len(right)))
    raise TraceError(
        f"The traces differ from operation {same + 1} on.\n"
        f"one:\n{marked(left, same)}\nthe other:\n{marked(right, same)}\n"
        f"Allowed differences: {', '.join(allowed) or 'none'}."
    )


def marked(steps: Sequence[TraceStep], index: int) -> str:
    """The steps, one a line, with a mark at one of them."""
    return "\n".join(f"{'>' if at == index else ' '} {step}" for at, step in enumerate(steps)) or "  (nothing)"
