"""The ways in which a step may go: on which backend, bare included, and whether it suspends."""

from __future__ import annotations

import gc
import importlib.util
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import pytest

import asyncgen_tools
from tests.conftest import BACKENDS, Backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator
    from types import FrameType

    from asyncgen_tools import Runner, SyncGenerator

__all__ = (
    "STEPS",
    "Countdown",
    "ProbeError",
    "Way",
    "anywhere_fixture",
    "caught",
    "frames_of",
    "numbers",
    "way_fixture",
    "without_collector",
)

PACKAGE = str(Path(asyncgen_tools.__path__[0]))
BARE = Backend("bare", cast("Any", "bare"))


@final
@dataclass(frozen=True, slots=True)
class Way:
    """One way: a generator under test awaits `pause()` before it goes on, which suspends or does not."""

    backend: Backend
    suspends: bool

    @property
    def id(self) -> str:
        """What pytest shows."""
        return f"{self.backend.id}-{'suspended' if self.suspends else 'borrowed'}"

    async def pause(self) -> None:
        """Suspend, if this is the way."""
        if self.suspends:
            await self.backend.checkpoint()

    def drive(self, source: Any, /, **options: Any) -> SyncGenerator[Any, Any, Any]:
        """`drive` on the backend."""
        return self.backend.drive(source, **options)

    def runner(self, **options: Any) -> Runner:
        """A `Runner` on the backend; the caller closes it."""
        return self.backend.runner(**options)


def _parameters(ways: list[Way]) -> Iterator[Any]:
    for way in ways:
        needs = way.backend.needs
        missing = needs is not None and importlib.util.find_spec(needs) is None
        yield pytest.param(way, id=way.id, marks=pytest.mark.skipif(missing, reason=f"{needs} is not installed"))


#: Each backend once, bare included; nothing suspends.
ANYWHERE = list(_parameters([Way(backend, suspends=False) for backend in (*BACKENDS, BARE)]))
#: Each backend with steps that end in the caller, and with steps that suspend and are carried on by the loop.
WAYS = [*ANYWHERE, *_parameters([Way(backend, suspends=True) for backend in BACKENDS])]


@pytest.fixture(name="way", params=WAYS)
def way_fixture(request: pytest.FixtureRequest) -> Way:
    """A backend, and whether steps suspend."""
    chosen: Way = request.param
    return chosen


@pytest.fixture(name="anywhere", params=ANYWHERE)
def anywhere_fixture(request: pytest.FixtureRequest) -> Way:
    """A backend, for what does not depend on whether steps suspend."""
    chosen: Way = request.param
    return chosen


class ProbeError(Exception):
    """An error that weak references can watch."""


@contextmanager
def without_collector() -> Generator[None]:
    """Reference counts alone free what is dropped in the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def numbers() -> AsyncGenerator[int, Any]:
    """1 and 2."""
    yield 1
    yield 2


@final
class Countdown:
    """An async iterator and no more: no asend, athrow or aclose."""

    def __init__(self, way: Way, start: int = 3) -> None:
        self.way, self.left = way, start

    def __aiter__(self) -> Countdown:
        return self

    async def __anext__(self) -> int:
        await self.way.pause()
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


STEPS: dict[str, Callable[[SyncGenerator[Any, Any, Any]], object]] = {
    "next": next,
    "send": lambda g: g.send(1),
    "send None": lambda g: g.send(None),
    "throw": lambda g: g.throw(ProbeError()),
    "close": lambda g: g.close(),
}


def caught(step: Any, *args: Any) -> BaseException:
    """The exception that a step raises, with the caller's frame first in its traceback."""
    try:
        step(*args)
    except BaseException as exc:
        return exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
    pytest.fail("the step raised nothing")


def frames_of(exc: BaseException) -> list[str]:
    """The names of the functions in the traceback, outermost first, with "(ours)" for those of the library."""
    names: list[str] = []
    traceback = exc.__traceback__
    while traceback is not None:
        frame: FrameType = traceback.tb_frame
        ours = frame.f_code.co_filename.startswith(PACKAGE)
        names.append("(ours)" if ours else frame.f_code.co_name)
        traceback = traceback.tb_next
    return names


def frame_of(source: Any) -> FrameType | None:
    """The frame of an async generator, which typeshed does not know; None after its end."""
    frame: FrameType | None = source.ag_frame
    return frame
