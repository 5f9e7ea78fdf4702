"""Transcripts: what was done to each driven generator, what came of it, and where it stood then.

A recorder puts itself between the generator face and what steps the host, so that the face is a `SyncGenerator` like
any other. Values and exceptions are described at once and not kept: a transcript keeps nothing alive.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast, final
from weakref import WeakKeyDictionary

from asyncgen_tools.arguments import short
from asyncgen_tools.host import own_frames
from asyncgen_tools.loops.observers import observers, without
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Outcome, Raised, Returned, Step, Yielded
from asyncgen_tools.testing.places import Place, is_ours, name_of, suspended_at

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncgen_tools.host import Host, NativeGenerator

__all__ = ("Entry", "Transcript", "describe_outcome", "describe_step", "record_transcripts")

#: How many entries of a generator are kept, and how many generators: endless ones must not fill the memory.
KEPT: Final = 50


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a transcript.

    Attributes:
        step: the operation and its argument, as text: "next", "send('a')", "throw(KeyError('k'))", "close".
        outcome: what came of it, as text: "yielded 1", "returned", "raised ValueError('no')", "closed".
        suspended_at: where the generator then stood, or None if it had ended.
    """

    step: str
    outcome: str
    suspended_at: Place | None

    def __str__(self) -> str:
        where = "" if self.suspended_at is None else f"  (suspended at {self.suspended_at})"
        return f"{self.step} -> {self.outcome}{where}"


@final
@dataclass(slots=True)
class Transcript:
    """What was done to one generator: its name, the line that made it, and an entry for each step.

    Attributes:
        name: the qualified name of the generator, with its module.
        made_at: file and line that called `drive`.
        entries: the last 50 steps, oldest first.
        left_out: how many steps there were before those.
    """

    name: str
    made_at: tuple[str, int]
    entries: list[Entry] = field(default_factory=list[Entry])
    left_out: int = 0

    def add(self, step: Step, outcome: Outcome, place: Place | None) -> None:
        """Write down one step."""
        if len(self.entries) >= KEPT:
            del self.entries[0]
            self.left_out += 1
        self.entries.append(Entry(describe_step(step), describe_outcome(step, outcome), place))

    def __str__(self) -> str:
        lines = [f"{self.name}, driven from {self.made_at[0]}:{self.made_at[1]}"]
        if self.left_out:
            lines.append(f"  ... {self.left_out} steps before")
        return "\n".join([*lines, *(f"  {entry}" for entry in self.entries or ("never stepped",))])


@contextmanager
def record_transcripts() -> Generator[list[Transcript]]:
    """Give a list that gets a transcript of each generator that this thread makes in the block, the last 50 of them.

    >>> from asyncgen_tools import drive
    >>> async def numbers():
    ...     yield 1
    >>> with record_transcripts() as transcripts:
    ...     numbers = list(drive(numbers(), backend="bare"))
    >>> [(entry.step, entry.outcome) for entry in transcripts[0].entries]
    [('next', 'yielded 1'), ('next', 'returned')]
    """
    recorder = Recorder()
    observers.recorders = (*observers.recorders, recorder)
    try:
        yield recorder.transcripts
    finally:
        observers.recorders = without(observers.recorders, recorder)


@final
class Recorder:
    """Records every generator that gets its face while this is among the thread's observers."""

    def __init__(self) -> None:
        self.transcripts: list[Transcript] = []
        self.by_face: WeakKeyDictionary[object, Transcript] = WeakKeyDictionary()

    def seated(self, host: Host, native: NativeGenerator, /, *, renewed: bool) -> NativeGenerator:
        """A native generator around the one that steps the host, which records."""
        if is_ours(host.source):
            return native
        face = host.face()
        transcript = self.by_face.get(face)
        if transcript is None:
            transcript = Transcript(name_of(host.source), host.made_at)
            if face is not None:  # pragma: no branch  # whoever has it seated holds it
                self.by_face[face] = transcript
            self.transcripts.append(transcript)
            del self.transcripts[:-KEPT]
        recorded = cast("NativeGenerator", record(host, native, transcript, renewed=renewed))
        if renewed:  # after a step that was refused; the native generator stands where the next one begins
            next(recorded)
        return recorded


def record(
    host: Host, native: NativeGenerator, transcript: Transcript, *, renewed: bool
) -> Generator[Any, Step | None, Any]:
    """Pass every command on to the native generator, and write down what comes of it."""
    command: Step | None = (yield None) if renewed else None
    step = command or (None if renewed else host.first) or NEXT
    try:
        while True:
            try:
                item = native.send(command)
            except StopIteration as exc:
                transcript.add(step, Returned(exc.value), None)
                return exc.value
            except BaseException as exc:
                transcript.add(step, Raised(exc), None)
                raise
            transcript.add(step, Yielded(item), suspended_at(host.source))
            try:
                command = yield item
            except GeneratorExit:
                try:
                    native.close()
                except BaseException as exc:
                    transcript.add(CLOSE, Raised(exc), suspended_at(host.source))
                    if not native.gi_suspended:
                        raise
                else:
                    transcript.add(CLOSE, Returned(), None)
                    raise
                command = yield item  # it has ignored GeneratorExit, and so does this
            step = command or NEXT
    finally:
        del command, step  # or a thrown exception and this frame would keep each other alive


def describe_step(step: Step) -> str:
    """The operation with its argument, as it is written."""
    if step.operation in {Operation.NEXT, Operation.CLOSE}:
        return str(step.operation.value)
    return f"{step.operation.value}({short(step.argument)})"


def describe_outcome(step: Step, outcome: Outcome) -> str:
    """What came of a step, in one or two words and the value."""
    match outcome:
        case Yielded(value):
            return f"yielded {short(value)}"
        case Returned(None):
            return "closed" if step.operation is Operation.CLOSE else "returned"
        case Returned(value):
            return f"returned {short(value)}"
        case Raised(error):  # pragma: no branch  # there are no more
            return f"raised {short(error)}"


own_frames(record)
