"""A trial: one check of one generator on one backend, and the labelled, bounded steps that it takes.

A check is a function that takes a trial. It runs as many async functions as it likes by `Trial.run`, each in a fresh
event loop, steps fresh generators in them, and calls `Trial.fail`; what it cannot look at here, it skips by
`NotApplicable`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, final

from asyncgen_tools.errors import AsyncgenToolsError, ConformanceError, HangError, UncheckableError
from asyncgen_tools.steps import Outcome, Raised, Returned, Yielded, stop_value
from asyncgen_tools.testing.harness.base import ThrownError
from asyncgen_tools.testing.harness.bounds import run_bounded
from asyncgen_tools.testing.harness.watchdog import Stuck
from asyncgen_tools.testing.harness.watching import Watch, error_places, frames_below, never, user_places, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from asyncgen_tools.testing.backends import Backend
    from asyncgen_tools.testing.harness.base import Harness
    from asyncgen_tools.testing.harness.watchdog import Watchdog
    from asyncgen_tools.testing.harness.watching import Sent
    from asyncgen_tools.testing.places import Place

__all__ = ("MOST_SUSPENSIONS", "NotApplicable", "Subject", "Taken", "Trial", "request")

T = TypeVar("T")
FORGETFUL: Final = sys.version_info < (3, 13)  # before, a generator may count as running after its end
MOST_SUSPENSIONS: Final = 16  # of one step that are looked at


class NotApplicable(Exception):  # noqa: N818  # it is no error: the check has nothing to look at here
    """Raised by a check that has nothing to look at; its text says why."""


@final
@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken: what came of it, and what its watch saw."""

    outcome: Outcome
    watch: Watch

    @property
    def ignored_exit(self) -> bool:
        """Whether the generator yielded where it was to close, so that Python gave it up."""
        error = self.outcome.error if isinstance(self.outcome, Raised) else None
        return isinstance(error, RuntimeError) and "ignored GeneratorExit" in str(error)

    @property
    def went_on(self) -> bool:
        """Whether the step ended as if nothing had happened: at a yield, or at the generator's end."""
        return not isinstance(self.outcome, Raised)

    @property
    def taken_for_running(self) -> bool:
        """Whether CPython refused the step of a generator because an error was thrown into its `aclose()`."""
        error = self.outcome.error if isinstance(self.outcome, Raised) else None
        return FORGETFUL and isinstance(error, RuntimeError) and "is already running" in str(error)


@final
@dataclass(slots=True)
class Subject:
    """A factory of generators on one backend, and what is known of them.

    Attributes:
        make: the factory, which gives an async iterable each time.
        name: of the generator.
        backend: the row of the kit.
        harness: runs it.
        watchdog: bounds it.
        max_yields: how many yields are looked at.
        yields: how many there are, of those.
        suspensions: how often each of the steps that lead to a yield, or to the end, suspends.
        ended: whether the generator ends after them.
        methods: which of asend, athrow and aclose it has.
        defined: where it is defined.
    """

    make: Callable[[], Any]
    name: str
    backend: Backend
    harness: Harness
    watchdog: Watchdog
    max_yields: int
    yields: int = 0
    suspensions: list[int] = field(default_factory=list[int])
    ended: bool = False
    methods: frozenset[str] = frozenset()
    defined: Place | None = None

    @property
    def is_generator(self) -> bool:
        """Whether it has all that makes an async generator of an async iterator."""
        return len(self.methods) == 3


@final
class Trial:
    """One check of a subject.

    Args:
        subject: what is checked.
        code: of the check.
        advice: what to write instead, for its report.
    """

    def __init__(self, subject: Subject, code: str, advice: str) -> None:
        self.subject: Subject = subject
        self.code: str = code
        self.advice: str = advice
        self.harness: Harness = subject.harness
        self.label: str = "the first step"
        self.taken: int = 0
        self.watch: Watch = Watch(self.harness.cancelled)
        self.kept: list[Any] = []  # what is to be closed at the end of a run

    def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an async function in a fresh event loop."""

        async def main() -> T:
            self.subject.watchdog.watch(None, self.harness.canceller())
            try:
                return await function()
            finally:
                while self.kept:
                    source = self.kept.pop()
                    if not self.subject.watchdog.fired:
                        await self.finish(source)

        self.taken = 0
        try:
            return run_bounded(self.harness, self.subject.watchdog, main, what=self.subject.name)
        except HangError as hang:
            error = HangError(f"{self.code} on {self.subject.backend.id}: {self.label} of {hang}")
            error.code, error.backend, error.step, error.place = (
                self.code,
                self.subject.backend.id,
                self.label,
                hang.place,
            )
            raise error from None
        except (NotApplicable, AsyncgenToolsError):
            raise
        except (Exception, self.harness.cancelled) as exc:
            self.fail(f"brought the event loop down: {exc!r}", self.raised_at(exc))

    def new(self) -> Any:
        """A new generator, not stepped yet; it is closed when the function has ended that `run` runs."""
        self.taken = 0
        self.kept.append(aiter(self.subject.make()))
        return self.kept[-1]

    async def step(
        self,
        source: Any,
        operation: str = "anext",
        *arguments: Any,
        at: int | None = None,
        action: Callable[[], object] | None = None,
        sent: Sent = never,
        elsewhere: bool = False,
    ) -> Taken:
        """Take one step of a generator.

        Args:
            source: the generator.
            operation: "anext", "asend", "athrow" or "aclose".
            arguments: the value to send, or what to throw.
            at: the suspension, from 0, at which something is done; -1 is before the step; None is never.
            action: what is done there.
            sent: whether a cancellation that arrives is what it requested.
            elsewhere: whether the step is taken in a task of its own.
        """
        self.taken += 1
        shown = f" of {arguments[0]!r}" if arguments else ""
        self.label = f"step {self.taken} ({operation}{shown})"
        watch = self.watch = Watch(self.harness.cancelled, act_at=at, action=action, sent=sent)
        self.subject.watchdog.watch(watch, self.harness.canceller())
        stepping = watched(taking(source, operation, arguments), watch)
        outcome = await self.outcome_of(self.harness.in_new_task(stepping) if elsewhere else stepping)
        if operation == "aclose" and isinstance(outcome, Yielded):
            outcome = Returned()
        return Taken(outcome, watch)

    async def awaited(self, awaitable: Any) -> Outcome:
        """What comes of awaiting something by hand."""
        watch = Watch(self.harness.cancelled)
        self.subject.watchdog.watch(watch, self.harness.canceller())
        return await self.outcome_of(watched(awaitable, watch))

    async def outcome_of(self, awaitable: Any) -> Outcome:
        """What comes of awaiting something."""
        try:
            return Yielded(await awaitable)
        except StopAsyncIteration as stop:
            return Returned(stop_value(stop))
        except (KeyboardInterrupt, SystemExit, Stuck):
            raise
        except BaseException as exc:
            if self.subject.watchdog.fired:
                raise
            return Raised(exc)

    async def advance(self, source: Any, count: int) -> bool:
        """Take so many steps; whether each of them ended at a yield."""
        for _ in range(count):
            taken = await self.step(source)
            if not isinstance(taken.outcome, Yielded):
                return False
        return True

    async def reach(self, source: Any, count: int) -> None:
        """Step a generator that has not begun to one of its yields.

        Raises:
            UncheckableError: it has not so many, though the one that was surveyed had.
        """
        for _ in range(count):
            outcome = (await self.step(source)).outcome
            if not isinstance(outcome, Yielded):
                cause = outcome.error if isinstance(outcome, Raised) else None
                raise self.unlike("did not yield, as it did") from cause

    def unlike(self, happened: str) -> UncheckableError:
        """The error of a factory whose generators differ, so that what one does says nothing of the others.

        Args:
            happened: the middle of a sentence that begins with the step and the generator, and ends with another one.
        """
        return UncheckableError(
            f"The generators that the factory makes are not alike: on {self.subject.backend.id}, {self.label} of "
            f"{self.subject.name} {happened} in an earlier one. Let the factory make anew what they use up or change."
        )

    async def finish(self, source: Any) -> bool:
        """Close a generator; this is no step to report.

        Returns:
            Whether it yielded instead, so that Python has given it up as it stands.
        """
        if "aclose" not in self.subject.methods:
            return False
        label = self.label
        taken = await self.step(source, "aclose")
        self.label = label
        return taken.ignored_exit

    async def kinds(self, source: Any, *, elsewhere: bool = False) -> list[type[Outcome]]:
        """Step a generator through its yields, and close it; the kind of each outcome."""
        steps = ["anext"] * (self.subject.yields + self.subject.ended)
        steps += ["aclose"] if "aclose" in self.subject.methods else []
        return [type((await self.step(source, operation, elsewhere=elsewhere)).outcome) for operation in steps]

    def line(self, places: Sequence[Place]) -> Place | None:
        """The line to report: the innermost in the file that defines the generator, or else the innermost of all."""
        defined = self.subject.defined
        own = [place for place in places if defined is not None and place.filename == defined.filename]
        shown = own or [*places]
        return shown[-1] if shown else None

    def place_of(self, source: Any) -> Place | None:
        """Where a generator is suspended."""
        return self.line(user_places(frames_below(source)))

    def standing(self) -> Place | None:
        """Where the step that is being taken is suspended."""
        return self.line(user_places(frames_below(self.watch.coroutine)))

    def raised_at(self, error: BaseException) -> Place | None:
        """Where an error was raised."""
        return self.line(error_places(error))

    def fail(self, happened: str, place: Place | None = None) -> NoReturn:
        """Reject the generator.

        Args:
            happened: the rest of a sentence that begins with the step and the generator.
            place: the line at which it shows; by default, where the generator is defined.

        Raises:
            ConformanceError: says all that.
        """
        place = place or self.subject.defined
        where = "" if place is None else f"\n  at {place}"
        backend = self.subject.backend.id
        error = ConformanceError(
            f"{self.code} on {backend}: {self.label} of {self.subject.name} {happened}{where}\n  {self.advice}"
        )
        error.code, error.backend, error.step, error.place = self.code, backend, self.label, place
        raise error


async def taking(source: Any, operation: str, arguments: tuple[Any, ...]) -> Any:
    """One operation; what it raises before there is anything to await is raised here, too."""
    return await request(source, operation, arguments)


def request(source: Any, operation: str, arguments: tuple[Any, ...] = ()) -> Any:
    """Begin an operation, as far as its awaitable; without arguments, None is sent, or a ThrownError thrown."""
    if operation == "anext":
        return anext(source)
    if not arguments:
        arguments = {"asend": (None,), "athrow": (ThrownError(),)}.get(operation, ())
    return getattr(source, operation)(*arguments)
