"""The fixture `backend`: what concerns an event loop runs on asyncio, on asyncio with uvloop, and on trio."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, final, overload

import pytest

from asyncgen_tools import Portal, Runner, drive
from asyncgen_tools.testing import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Generator, Mapping

    from asyncgen_tools import SyncGenerator
    from asyncgen_tools.protocols import SendT, YieldT


#: Seconds to give as a timeout that some steps should stay within: nothing on a `Backend.steady`, but for uvloop.
BRIEF = 0.5


@final
@dataclass(frozen=True, slots=True)
class Backend:
    """One row of the parametrisation: a backend with its options, and its library's two simplest awaits."""

    id: str
    name: Literal["asyncio", "trio"]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    needs: str | None = None

    @property
    def library(self) -> Literal["asyncio", "trio"]:
        """The library that async code runs on, as `sniffio` names it."""
        return self.name

    @overload
    def drive(self, source: AsyncGenerator[YieldT, SendT], /, **options: Any) -> SyncGenerator[YieldT, SendT, Any]: ...
    @overload
    def drive(self, source: AsyncIterable[YieldT], /, **options: Any) -> SyncGenerator[YieldT, Any, Any]: ...
    def drive(self, source: Any, /, **options: Any) -> SyncGenerator[Any, Any, Any]:
        """`asyncgen_tools.drive` on this backend."""
        return drive(source, backend=self.name, backend_options=self.options, **options)

    def runner(self, **options: Any) -> Runner:
        """A new `asyncgen_tools.Runner` on this backend; the caller closes it."""
        return Runner(backend=self.name, backend_options=self.options, **options)

    def portal(self, **options: Any) -> Portal:
        """A new `asyncgen_tools.Portal` on this backend; the caller closes it."""
        return Portal(backend=self.name, backend_options=self.options, **options)

    def steady(self) -> Backend:
        """The same with virtual time: a timeout strikes where the body waits, however slow the machine is.

        uvloop has none, so there only the length of `BRIEF` keeps a slow machine from being taken for a wait.
        """
        if self.id == "uvloop":
            return self
        return replace(self, options={**self.options, **virtual_time(self.name)})

    async def checkpoint(self) -> None:
        """Suspend once: the loop gets exactly one turn."""
        await self.sleep(0)

    async def sleep(self, seconds: float) -> None:
        """Sleep as the library does; cancellable, and over a yield part of whatever scope is open."""
        if self.name == "trio":
            import trio

            await trio.sleep(seconds)
        else:
            await asyncio.sleep(seconds)


BACKENDS = (
    Backend("asyncio", "asyncio"),
    Backend("uvloop", "asyncio", {"use_uvloop": True}, needs="uvloop"),
    Backend("trio", "trio", needs="trio"),
)


def as_parameter(backend: Backend) -> Any:
    """A row for `pytest.mark.parametrize`, skipped where its library is missing."""
    missing = backend.needs is not None and importlib.util.find_spec(backend.needs) is None
    skip = pytest.mark.skipif(missing, reason=f"{backend.needs} is not installed")
    return pytest.param(backend, id=backend.id, marks=skip)


@pytest.fixture(params=[as_parameter(backend) for backend in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend of this run of the test."""
    chosen: Backend = request.param
    return chosen


def pytest_configure() -> None:
    """Keep the options of this pytest from those that tests start."""
    os.environ.pop("PYTEST_ADDOPTS", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Let the collector look at what tests make, not at what was imported: a full round takes a tenth of the time."""
    with suppress(ImportError):
        importlib.import_module("hypothesis")  # which asks the collector for referrers when it is imported
    gc.collect()
    gc.freeze()
    try:
        return (yield)
    finally:
        gc.unfreeze()
