"""Watching a coroutine from inside its task: how often it suspends, where, and which cancellations reach it.

Theory of operation. A coroutine suspends by yielding a message to its event loop, through every awaiting frame.
`watched` stands between the two: it is awaited in the task, drives the coroutine by hand, and hands each message and
each answer on. So it counts suspensions, may act just before one reaches the loop (request a cancellation there), and
sees a cancellation arrive: asyncio throws it in, trio sends it as the Error of an outcome. One driver serves both.

Where a coroutine stands is read from its frames, through async generators too.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import gc
import inspect
import sys
import types
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, final

from asyncgen_tools.testing.places import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
    from types import CodeType, FrameType, TracebackType

__all__ = (
    "ENTRY",
    "PASS_ON",
    "Delivery",
    "Sent",
    "Watch",
    "WatchedChild",
    "definition_of",
    "error_place",
    "error_places",
    "frames_below",
    "never",
    "user_place",
    "user_places",
    "watched",
)

LIBRARIES: Final = sys.stdlib_module_names | {"asyncgen_tools", "anyio", "trio", "outcome", "sniffio", "uvloop"}
CLOSERS: Final = {"asyncio", "anyio", "trio", "asyncgen_tools"}
WAITS: Final = "asyncgen_tools.loops.asyncio_task"
TURN: Final = 64  # messages of which the loop gets one at least, as with borrowed steps
ENTRY: Final = -1  # the point before a coroutine's first step
PASS_ON: Final = object()  # what a shortcut says of a message that the loop must have
MAX_DEPTH: Final = 10_000


@final
@dataclass(frozen=True, slots=True)
class Delivery:
    """A cancellation that reached a coroutine.

    Attributes:
        places: the lines of the user's code that it reached, outermost first.
        closing: whether it reached a close of trio, anyio, asyncio or this package, which sees to its resource all the
            same.
        passed_on: whether it reached a wait of this package for a step in another task, which passes it on to there.
    """

    places: tuple[Place, ...]
    closing: bool
    passed_on: bool


class Sent(Protocol):
    """Whether a cancellation is the one that was requested."""

    def __call__(self, error: BaseException, *, at_once: bool) -> bool: ...


def never(error: BaseException, *, at_once: bool) -> bool:
    """What is said of cancellations where none is requested."""
    del error, at_once
    return False


@final
class Watch:
    """What is to be done with a watched coroutine, and what was seen of it.

    Args:
        cancelled: the class of the library's cancellations.
        act_at: the suspension, counted from 0, before which `action` is called; -1 is the entry, before the first step;
            None is never.
        action: called once, with the coroutine suspended; it may request a cancellation.
        sent: whether a cancellation that arrives is what `action` requested, as `Scope.sent`. Others are those of inner
            scopes, such as a deadline in shielded cleanup, and of child tasks; trio's sleep ends by one, too.
        shortcut: answers a message in the loop's stead when the loop would only hand it back; by default, nothing does.
    """

    __slots__ = (
        "act_at",
        "action",
        "cancelled",
        "coroutine",
        "delivered",
        "place",
        "sent",
        "shortcut",
        "suspensions",
    )

    def __init__(
        self,
        cancelled: type[BaseException],
        *,
        act_at: int | None = None,
        action: Callable[[], object] | None = None,
        sent: Sent = never,
        shortcut: Callable[[Any], Any] | None = None,
    ) -> None:
        self.cancelled: type[BaseException] = cancelled
        self.act_at: int | None = act_at
        self.action: Callable[[], object] | None = action
        self.sent: Sent = sent
        self.shortcut: Callable[[Any], Any] | None = shortcut
        self.coroutine: Any = None
        self.suspensions: int = 0
        self.place: Place | None = None  # where it stood when `action` was called
        self.delivered: list[Delivery] = []  # where each cancellation reached it that `action` requested

    def act(self, coroutine: Any) -> None:
        """Note where a coroutine stands, and do what is to be done there."""
        self.place = user_place(frames_below(coroutine))
        assert self.action is not None
        self.action()

    def suspended(self, coroutine: Any) -> None:
        """Count one suspension of a coroutine."""
        self.suspensions += 1
        if self.suspensions - 1 == self.act_at:
            self.act(coroutine)

    def arrived(self, coroutine: Any, error: BaseException) -> None:
        """Note a cancellation that a coroutine is about to see, if it is what `action` requested."""
        at_once = self.act_at is not None and self.suspensions <= max(self.act_at, 0) + 1
        if self.sent(error, at_once=at_once):
            self.delivered.append(delivery_to(coroutine))

    def reached(self) -> bool:
        """Whether the coroutine came to the point at which something was to be done."""
        return self.act_at is not None and self.suspensions > self.act_at

    def due(self, *, level: bool) -> list[Delivery]:
        """The deliveries of what `action` requested.

        Args:
            level: whether cancellation is a state. One that is passed on to a step in another task, and that this is
                shielded from, has then not been used up, and has not been delivered either.
        """
        return [delivery for delivery in self.delivered if not (level and delivery.passed_on)]


async def wait(awaitable: Awaitable[Any]) -> Any:
    """Await anything awaitable."""
    return await awaitable


def coroutine_of(awaitable: Any) -> Any:
    """A native coroutine that awaits something; it has all the methods, and shows its frame."""
    return awaitable if inspect.iscoroutine(awaitable) else wait(awaitable)


@types.coroutine
def watched(awaitable: Awaitable[Any], watch: Watch) -> Generator[Any, Any, Any]:
    """Await `awaitable` under the eyes of `watch`; give and raise what it gives and raises."""
    coroutine = coroutine_of(awaitable)
    watch.coroutine = coroutine
    shortcut, act_at, cancelled = watch.shortcut, watch.act_at, watch.cancelled
    resume, answer = coroutine.send, None
    if act_at == ENTRY:
        watch.act(coroutine)
        shortcut = None  # from here on the loop has something to say
    try:
        while True:
            try:
                message = resume(answer)
            except StopIteration as stop:
                return stop.value
            count = watch.suspensions
            watch.suspensions = count + 1
            if count == act_at:
                watch.act(coroutine)
                shortcut = None
            elif shortcut is not None and count % TURN:
                answer = shortcut(message)
                if answer is not PASS_ON:
                    resume = coroutine.send
                    continue
            try:
                answer = yield message
            except GeneratorExit:
                raise
            except BaseException as exc:
                resume, answer = coroutine.throw, exc
                if isinstance(exc, cancelled):
                    watch.arrived(coroutine, exc)
            else:
                resume = coroutine.send
                if answer is not None and isinstance(getattr(answer, "error", None), cancelled):
                    watch.arrived(coroutine, answer.error)
    finally:
        coroutine.close()
        del resume, answer  # or a thrown exception and this frame would keep each other alive


@final
class WatchedChild(Coroutine[Any, Any, Any]):
    """The coroutine of a task that watched code starts: its suspensions count, too.

    Args:
        coroutine: what the task would run otherwise.
        watch: of the code that started it.
    """

    def __init__(self, coroutine: Any, watch: Watch) -> None:
        self.coroutine: Any = coroutine
        self.watch: Watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.coroutine, name)  # such as `cr_running`, by which a library knows the state

    def send(self, value: Any, /) -> Any:
        """Take one step."""
        message = self.coroutine.send(value)
        self.watch.suspended(self.coroutine)
        return message

    def throw(self, *details: Any) -> Any:
        """Take one step that begins with an exception."""
        message = self.coroutine.throw(*details)
        self.watch.suspended(self.coroutine)
        return message

    def close(self) -> None:
        """Close the coroutine."""
        self.coroutine.close()  # pragma: no cover  # tasks do not

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError  # pragma: no cover  # it is a task's, and tasks send


def frames_below(awaitable: Any) -> list[FrameType]:
    """The frames of a suspended coroutine or async generator, outermost first, down to where it waits."""
    frames: list[FrameType] = []
    for _ in range(MAX_DEPTH):  # a ring of generators that await one another has no end
        if awaitable is None:
            break
        frame = next(
            filter(None, (getattr(awaitable, name, None) for name in ("cr_frame", "ag_frame", "gi_frame"))), None
        )
        if frame is not None:
            frames.append(frame)
        awaitable = next_below(awaitable)
    return frames


def next_below(awaitable: Any) -> Any:
    """What a suspended coroutine, generator or one of their steps waits for, as far as it can be known."""
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        below = getattr(awaitable, name, None)
        if below is not None:
            return below
    if type(awaitable).__name__ in {
        "async_generator_asend",
        "async_generator_athrow",
        "coroutine_wrapper",
        "anext_awaitable",
    }:
        return next(
            (held for held in gc.get_referents(awaitable) if hasattr(held, "ag_frame") or hasattr(held, "cr_frame")),
            None,
        )
    return None


def delivery_to(coroutine: Any) -> Delivery:
    """The delivery of a cancellation to a suspended coroutine."""
    frames = frames_below(coroutine)
    libraries: list[FrameType] = []  # below the user's innermost frame
    for frame in frames:
        libraries = [*libraries, frame] if is_library(frame) else []
    closing = any(
        frame.f_code.co_name in {"aclose", "aclose_forcefully", "__aexit__"} and top_module(frame) in CLOSERS
        for frame in libraries
    )
    passed_on = bool(frames) and frames[-1].f_globals.get("__name__") == WAITS
    return Delivery(user_places(frames), closing, passed_on)


def top_module(frame: FrameType) -> str:
    """The package to which the code of a frame belongs."""
    name: object = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


def is_library(frame: FrameType) -> bool:
    """Whether a frame belongs to the standard library, an event loop's library, or this package."""
    return top_module(frame) in LIBRARIES


def user_places(frames: Iterable[FrameType]) -> tuple[Place, ...]:
    """The lines that are no library's, outermost first; else the innermost line of all."""
    stack = list(frames)
    return tuple(frame_place(frame) for frame in stack if not is_library(frame)) or tuple(map(frame_place, stack[-1:]))


def user_place(frames: Iterable[FrameType]) -> Place | None:
    """The innermost line that is no library's; else the innermost line of all."""
    places = user_places(frames)
    return places[-1] if places else None


def frame_place(frame: FrameType) -> Place:
    """The line at which a frame stands."""
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)


def error_places(error: BaseException) -> tuple[Place, ...]:
    """The lines that are no library's in the traceback of an error, or of the first error of a group."""
    innermost: Any = error
    while isinstance(innermost, BaseExceptionGroup):
        innermost = cast("Any", innermost).exceptions[0]
    return tuple(
        Place(frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in traceback_entries(innermost.__traceback__)
        if not is_library(frame)
    )


def error_place(error: BaseException) -> Place | None:
    """The innermost line that is no library's in the traceback of an error."""
    places = error_places(error)
    return places[-1] if places else None


def traceback_entries(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of a traceback with the lines at which they raised, outermost first."""
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def definition_of(source: Any) -> Place | None:
    """Where an async generator, or the class of an async iterator, is defined."""
    kind: Any = type(source)  # pyright: ignore[reportUnknownVariableType]
    step = getattr(kind, "__anext__", None)
    code: CodeType | None = getattr(source, "ag_code", None) or getattr(step, "__code__", None)
    return None if code is None else Place(code.co_filename, code.co_firstlineno, code.co_qualname)
