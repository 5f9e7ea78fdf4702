"""The host: the one task, and the one context, in which a driven generator lives from its first step to its close.

Theory of operation. A host is a coroutine (`life`) that takes one command after the other: it awaits the source's
`__anext__`, `asend`, `athrow` or `aclose`, leaves what was yielded in `Host.item`, and parks by yielding `PARKED`.
Whoever holds the host sends it the next command. Everything else that comes out of the coroutine is a message of the
source to its event loop: the step has really suspended, and must be carried on by a task of that loop. Because the
coroutine is never anywhere but in one task and one context, timeouts, cancel scopes, task groups and context variables
held over a `yield` behave as they do inside a task.

This module knows no event loop; `asyncgen_tools.loops` gives a host its task. The generator face holds the host and
never the other way round (a weak reference tells whether the face is still there), so that dropping the face closes
the generator at once instead of whenever the cyclic collector runs.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import enum
import os
import sys
import types
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, final

from asyncgen_tools.errors import StepTimeoutError
from asyncgen_tools.steps import Operation, Outcome, Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextvars import Context
    from types import FrameType

    from asyncgen_tools.sync_generator import SyncGenerator

__all__ = (
    "ABANDONED",
    "IGNORED_EXIT",
    "PACKAGE",
    "PARKED",
    "Carried",
    "Host",
    "Marker",
    "NativeGenerator",
    "calling_line",
    "life",
    "own_frames",
    "request",
    "stepper",
    "strip_own_frames",
    "wait",
)


NativeGenerator: TypeAlias = "types.GeneratorType[Any, Step | None, Any]"


class Marker(enum.Enum):
    """Where a host stands; the first two are what it yields that is not meant for an event loop."""

    PARKED = "the step has ended at a yield"
    IGNORED_EXIT = "the generator yielded while it was being closed, and is suspended there"
    ABANDONED = "the generator was dropped where it cannot be closed, and is left for later"


PACKAGE: Final = os.path.dirname(__file__) + os.sep  # noqa: PTH120  # pathlib costs more than the rest of the import
PARKED: Final = Marker.PARKED
IGNORED_EXIT: Final = Marker.IGNORED_EXIT
ABANDONED: Final = Marker.ABANDONED


@final
class Carried(BaseException):
    """A StopAsyncIteration on its way out of a host, where by itself it would be taken for the end of the source."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error: BaseException = error


@final
class Host:
    """One generator's life: its source, its context, the coroutine that steps it, and where it stands.

    Args:
        source: an async generator, async iterator or async iterable, checked by `check_source`.
        context: the context of every step.
        timeout: seconds that a step may take, or None.
        made_at: file and line that made the generator; a warning about a lost one names it.
    """

    __slots__ = (
        "body",
        "cancelled_by",
        "context",
        "deadline",
        "face",
        "first",
        "item",
        "line",
        "made_at",
        "mailbox",
        "name",
        "outcome",
        "pending",
        "scope",
        "source",
        "task",
        "timeout",
        "work",
    )

    def __init__(self, source: Any, *, context: Context, timeout: float | None, made_at: tuple[str, int]) -> None:
        self.source: Any = source
        self.context: Context = context
        self.timeout: float | None = timeout
        self.made_at: tuple[str, int] = made_at
        self.name: str = getattr(source, "__qualname__", None) or type(source).__qualname__
        self.first: Step | None = None
        self.item: Any = None
        self.body: NativeGenerator = new_life(self, None)
        #: The generator face, by a weak reference once there is one.
        self.face: Callable[[], SyncGenerator[Any, Any, Any] | None] = no_face
        # What the loop that seats this host keeps here:
        self.task: Any = None
        self.scope: Any = None
        self.mailbox: Any = None
        self.line: Any = None  # where a thread that is not the loop's waits for it
        self.work: Any = PARKED
        self.pending: Any = None  # a cancellation that arrived while the host was parked
        self.outcome: Outcome | Marker | None = None
        self.deadline: float | None = None
        self.cancelled_by: Callable[[], BaseException] | None = None

    def restart(self, command: Step | None) -> None:
        """Give the source a new coroutine whose first command is `command`, after the old one was lost or not begun."""
        self.body = new_life(self, command)

    def timeout_error(self) -> StepTimeoutError:
        """The error of a step that took longer than `timeout`."""
        return StepTimeoutError(
            f"A step of {self.name} took longer than the timeout of {self.timeout:g} s; it was cancelled, and the "
            "generator is finished. Give drive() a longer timeout, or none."
        )

    def dropped(self) -> bool:
        """Whether nobody holds the generator face any more."""
        return self.face() is None

    def renew_face(self) -> None:
        """Give the face a new native generator: one that raised, if only to refuse a step, is finished."""
        self.first = None
        face = self.face()
        if face is not None:  # pragma: no branch  # whoever was refused a step holds it
            face.renew()

    def needs_closing(self) -> bool:
        """Whether the source has something to close although it was never stepped."""
        kind: Any = type(self.source)  # pyright: ignore[reportUnknownVariableType]
        return hasattr(kind, "__anext__") and hasattr(self.source, "aclose")

    def source_finished(self) -> bool:
        """Whether the source is known to be finished; one that does not tell counts as unfinished."""
        return self.source is None or getattr(self.source, "ag_frame", self) is None


def no_face() -> None:
    """What a host asks for its face before it has one."""


def new_life(host: Host, command: Step | None) -> NativeGenerator:
    """The coroutine of a host, whose first command is `command`."""
    return cast("NativeGenerator", life(host, command))


@types.coroutine
def life(host: Host, command: Step | None) -> Generator[Any, Step | None, None]:
    """Step the source as commanded, parking in between; a command of None is `next`."""
    source = host.source
    if command is None or command.operation is not Operation.CLOSE:
        try:
            source = host.source = aiter(source)
        except StopAsyncIteration as exc:
            raise Carried(exc) from None
    step = stepper(source)
    while True:
        if command is None:
            host.item = yield from step(source)
            command = yield PARKED
            continue
        closing = command.operation is Operation.CLOSE
        requested = wait([request(source, command)])
        command = None  # or a thrown exception and this frame would keep each other alive
        try:
            host.item = yield from requested
        except RuntimeError as exc:
            if not closing or exc.args != ("async generator ignored GeneratorExit",) or host.source_finished():
                raise
            command = yield IGNORED_EXIT
        else:
            if closing:
                return
            command = yield PARKED


def stepper(source: Any) -> Callable[[Any], Any]:
    """What begins the next step of the source, as something that `yield from` takes: a native awaitable as it is."""
    return cast("Callable[[Any], Any]", anext if type(source) is types.AsyncGeneratorType else advance)


async def advance(source: Any) -> Any:
    """Await `anext(source)`, by type lookup, whatever kind of awaitable it is."""
    kind: Any = type(source)  # pyright: ignore[reportUnknownVariableType]
    return await kind.__anext__(source)


async def wait(awaitables: list[Awaitable[Any]]) -> Any:
    """Await anything awaitable, with the interpreter's own error for what is not.

    Args:
        awaitables: the one to await; it is taken out, since it may hold an exception whose traceback will have this
        frame.
    """
    return await awaitables.pop()


async def nothing() -> None:
    """What closing comes to where there is nothing to close."""


def request(source: Any, step: Step) -> Awaitable[Any]:
    """Start the operation of `step` on the source, as far as the source has it."""
    match step.operation:
        case Operation.SEND:
            awaitable = source.asend(step.argument)
        case Operation.THROW:
            if not hasattr(source, "athrow"):
                error = cast("BaseException", step.argument)
                raise Carried(error) if isinstance(error, StopAsyncIteration) else error
            awaitable = source.athrow(step.argument)
        case Operation.CLOSE if hasattr(source, "aclose"):
            awaitable = source.aclose()
        case _:
            awaitable = nothing()
    return awaitable  # type: ignore[no-any-return]


def calling_line() -> tuple[str, int]:
    """File and line of the innermost frame outside of this package."""
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]  # as warnings.warn does
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return ("<unknown>", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


OWN_CODE: Final[set[types.CodeType]] = set()


def own_frames(*functions: Any) -> None:
    """Declare that frames of these functions tell a user nothing, so that `strip_own_frames` may take them away."""
    OWN_CODE.update(function.__code__ for function in functions)


def strip_own_frames(exc: BaseException) -> BaseException:
    """Take the frames of this library off the top of the traceback, down to the source's first.

    Args:
        exc: an exception that came out of a host.

    Returns:
        The same exception. What raises it again adds its own frame, and no other of ours is left.
    """
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_frame.f_code in OWN_CODE:
        traceback = traceback.tb_next
    return exc.with_traceback(traceback)


own_frames(life, advance, wait, request)
