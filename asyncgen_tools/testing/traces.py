"""Traces: what came of each operation on a generator, as values that two runs can be compared by.

`record` works a sync generator, `arecord` an async one; every exception of the generator is written down and none
escapes, and the generator is finished afterwards. `asyncgen_tools.testing.differences` compares.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from asyncgen_tools.arguments import short
from asyncgen_tools.steps import Operation, Returned, Step, Yielded, stop_value as value_of
from asyncgen_tools.testing.transcripts import describe_outcome, describe_step

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = (
    "Failed",
    "Notes",
    "SeenError",
    "Tape",
    "Trace",
    "TraceStep",
    "arecord",
    "changes",
    "finish",
    "record",
    "seen",
)

#: Written down; other exceptions are about the test and not of the generator: Ctrl-C, cancellation, a test's end.
RECORDED: Final = (Exception, GeneratorExit, BaseExceptionGroup)
#: How often a generator that ignores GeneratorExit is closed.
PATIENCE: Final = 1000


@final
@dataclass(frozen=True, slots=True)
class SeenError:
    """An exception as two runs can be compared by it.

    Its context is not part of it: generators that delegate are not all on the stack at once.

    Attributes:
        kind: its class.
        args: its arguments.
        cause: what it was raised from.
        thrown: whether it is the very object that the operation has thrown in.
    """

    kind: type[BaseException]
    args: tuple[object, ...]
    cause: SeenError | None = None
    thrown: bool = False

    def __repr__(self) -> str:
        cause = "" if self.cause is None else f" from {self.cause}"
        return f"{self.kind.__name__}({', '.join(map(short, self.args))}){' (thrown in)' * self.thrown}{cause}"


def seen(error: BaseException, thrown: BaseException | None) -> SeenError:
    """What can be compared of an exception; `thrown` is the one that the operation has thrown in."""
    cause = error.__cause__
    return SeenError(type(error), error.args, None if cause is None else seen(cause, thrown), error is thrown)


@final
@dataclass(frozen=True, slots=True)
class Failed:
    """The step ended with an exception."""

    error: SeenError

    def __str__(self) -> str:
        return f"raised {self.error}"


Seen: TypeAlias = Yielded | Returned | Failed


@final
@dataclass(frozen=True, slots=True)
class TraceStep:
    """One operation of a trace.

    Attributes:
        step: the operation.
        outcome: what came of it; an exception as a `SeenError`.
        notes: what the body wrote down meanwhile.
        context: names of the context variables that it changed for whoever took the step.
    """

    step: Step
    outcome: Seen
    notes: tuple[object, ...] = ()
    context: tuple[str, ...] = ()

    def __str__(self) -> str:
        outcome = self.outcome
        said = str(outcome) if isinstance(outcome, Failed) else describe_outcome(self.step, outcome)
        notes = f"  noted {', '.join(map(short, self.notes))}" if self.notes else ""
        context = f"  changed context variables: {', '.join(self.context)}" if self.context else ""
        return f"{describe_step(self.step)} -> {said}{notes}{context}"


@final
@dataclass(frozen=True, slots=True)
class Trace:
    """What came of each operation, in order."""

    steps: tuple[TraceStep, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps)) or "(nothing)"


class Notes:
    """What the bodies of one program write down, and the generators that run them.

    `Program.make` fills it, `record` and `arecord` read it and finish the generators.

    Attributes:
        written: what was written down in the step that runs.
        generators: every generator of the program that was made so far.
        thrown: the exception that the step throws in, if it does.
        over: whether the recording is over, and nothing more is written down.
    """

    def __init__(self) -> None:
        self.written: list[object] = []
        self.generators: list[Generator[Any, Any, Any] | AsyncGenerator[Any, Any]] = []
        self.thrown: BaseException | None = None
        self.over: bool = False

    def add(self, value: object, /) -> None:
        """Write down a value, or an exception as far as two runs can be compared by it."""
        if not self.over:
            self.written.append(seen(value, self.thrown) if isinstance(value, BaseException) else value)

    def take(self) -> tuple[object, ...]:
        """What was written since the last time."""
        written = tuple(self.written)
        self.written.clear()
        return written

    def finish(self) -> None:
        """Run every generator to its end, whatever it does on the way; nothing more is written down."""
        self.over = True
        for generator in self.generators:
            if isinstance(generator, Generator):
                finish(generator)
            else:
                finish_by_hand(generator)


def record(generator: Generator[Any, Any, Any], operations: Iterable[Step], /, *, notes: Notes | None = None) -> Trace:
    """Work a sync generator, one operation after the other, and write down what comes of each.

    Args:
        generator: any sync generator, as well a `SyncGenerator`. It is finished afterwards.
        operations: what to do. An exception class is instantiated before it is thrown in.
        notes: what the body writes down, see `Program.make`.

    Returns:
        A step for each operation.

    >>> from asyncgen_tools.steps import CLOSE, NEXT
    >>> print(record((letter for letter in "ab"), [NEXT, CLOSE, NEXT]))
    next -> yielded 'a'
    close -> closed
    next -> returned
    """
    tape = Tape(notes)
    try:
        for step in operations:
            tape.take(generator, step)
    finally:
        finish(generator)
        tape.notes.finish()
    return tape.trace()


async def arecord(
    generator: AsyncGenerator[Any, Any], operations: Iterable[Step], /, *, notes: Notes | None = None
) -> Trace:
    """`record` for an async generator: `anext`, `asend`, `athrow`, `aclose`, each awaited in the calling task.

    Args:
        generator: any async generator. It is finished afterwards.
        operations: as for `record`; StopIteration is thrown in as StopAsyncIteration, its counterpart.
        notes: as for `record`.

    Returns:
        A step for each operation.
    """
    tape = Tape(notes, stop=StopAsyncIteration)
    try:
        for step in operations:
            with tape.taking(step) as (operation, argument):
                tape.outcome = await atake(generator, operation, argument)
    finally:
        await afinish(generator)
        tape.notes.finish()
    return tape.trace()


@final
class Tape:
    """Takes down the steps of one recording."""

    def __init__(self, notes: Notes | None = None, stop: type[Exception] = StopIteration) -> None:
        self.notes: Notes = Notes() if notes is None else notes
        self.stop: type[Exception] = stop
        self.steps: list[TraceStep] = []
        self.outcome: Seen = Returned()

    @contextmanager
    def taking(self, step: Step) -> Generator[tuple[Operation, Any]]:
        """Take down one step, which sets `outcome` or raises."""
        argument: Any = step.argument
        thrown: BaseException | None = None
        if step.operation is Operation.THROW:
            kind = self.stop if argument is StopIteration else argument
            argument = thrown = kind("thrown") if isinstance(kind, type) else kind
        self.notes.thrown = thrown
        before = copy_context()
        try:
            yield step.operation, argument
        except (StopIteration, StopAsyncIteration) as stop:
            self.outcome = Returned(stop.value if isinstance(stop, StopIteration) else value_of(stop))
        except RECORDED as error:
            self.outcome = Failed(seen(error, thrown))
        finally:
            self.notes.thrown = None
            del argument, thrown  # or a thrown exception and this frame would keep each other alive
        self.steps.append(TraceStep(step, self.outcome, self.notes.take(), changes(before, copy_context())))

    def take(self, generator: Generator[Any, Any, Any], step: Step) -> TraceStep:
        """Take a step of a sync generator."""
        with self.taking(step) as (operation, argument):
            self.outcome = take(generator, operation, argument)
        return self.steps[-1]

    def trace(self) -> Trace:
        """What was taken down."""
        return Trace(tuple(self.steps))


def changes(before: Context, after: Context) -> tuple[str, ...]:
    """The names of the variables in which two contexts differ."""
    missing = object()
    differing = {*before, *after}
    return tuple(sorted(v.name for v in differing if before.get(v, missing) is not after.get(v, missing)))


def take(generator: Generator[Any, Any, Any], operation: Operation, argument: Any) -> Seen:
    """Do one operation on a sync generator."""
    match operation:
        case Operation.NEXT:
            return Yielded(next(generator))
        case Operation.SEND:
            return Yielded(generator.send(argument))
        case Operation.THROW:
            return Yielded(generator.throw(argument))
        case Operation.CLOSE:  # pragma: no branch  # there are no more
            generator.close()  # what it gives since 3.13 has no counterpart in `aclose`
            return Returned()


async def atake(generator: AsyncGenerator[Any, Any], operation: Operation, argument: Any) -> Seen:
    """Do one operation on an async generator."""
    match operation:
        case Operation.NEXT:
            return Yielded(await anext(generator))
        case Operation.SEND:
            return Yielded(await generator.asend(argument))
        case Operation.THROW:
            return Yielded(await generator.athrow(argument))
        case Operation.CLOSE:  # pragma: no branch  # there are no more
            await generator.aclose()
            return Returned()


def finish(generator: Generator[Any, Any, Any]) -> None:
    """Close a sync generator until it has ended."""
    for _ in range(PATIENCE):
        with suppress(*RECORDED):
            generator.close()
            return


async def afinish(generator: AsyncGenerator[Any, Any]) -> None:
    """Close an async generator; one that ignores that is resumed until it has ended."""
    with suppress(*RECORDED):
        await generator.aclose()
    for _ in range(PATIENCE):
        if getattr(generator, "ag_frame", None) is None:
            return
        with suppress(*RECORDED):
            await generator.asend(None)


def finish_by_hand(generator: AsyncGenerator[Any, Any]) -> None:
    """`afinish` for a generator that no longer waits for anything."""
    finishing = afinish(generator)
    with suppress(*RECORDED):
        for _ in range(PATIENCE):
            finishing.send(None)
    finishing.close()
