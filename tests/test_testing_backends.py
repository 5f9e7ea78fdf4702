"""The backends of a test: each row runs, drives and checkpoints on what it says it is."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools.errors import BareSuspensionError, UnknownBackendError
from asyncgen_tools.testing import Backend, get_backend, installed_backends
from asyncgen_tools.testing.backends import BACKENDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(name="row", params=BACKENDS, ids=lambda row: row.id)
def row_fixture(request: pytest.FixtureRequest) -> Backend:
    """Each row, skipped with its own reason."""
    chosen: Backend = request.param
    if chosen.missing is not None:
        pytest.skip(chosen.missing)
    return chosen


async def counted(row: Backend, suspensions: int) -> AsyncGenerator[int, Any]:
    """Yield how many checkpoints have been passed."""
    for number in range(suspensions):
        await row.checkpoint()
        yield number


def test_drive(row: Backend) -> None:
    """A row drives a generator that suspends at the row's own checkpoint."""
    assert list(row.drive(counted(row, 3))) == [0, 1, 2]


def test_run(row: Backend) -> None:
    """A row runs an async function with its arguments."""

    async def double(number: int) -> int:
        await row.checkpoint()
        return 2 * number

    assert row.run(double, 21) == 42


def test_runner(row: Backend) -> None:
    """A row gives runners, on which several generators live side by side."""
    with row.runner() as runner:
        pairs = list(zip(runner.drive(counted(row, 2)), runner.drive(counted(row, 2)), strict=True))
    assert pairs == [(0, 0), (1, 1)]


def test_rows_run_where_they_say() -> None:
    """The rows of asyncio run asyncio, `uvloop` its loop, and `bare` none."""

    async def loop_module() -> str:
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert get_backend("asyncio").run(loop_module) == "asyncio"
    assert get_backend("level").run(loop_module) == "asyncio"
    if get_backend("uvloop").missing is None:
        assert get_backend("uvloop").run(loop_module) == "uvloop"


def test_a_real_wait_is_an_error_on_bare() -> None:
    """On `bare` only the kit's checkpoint suspends; what waits for an event loop is still a clear error."""

    async def waits() -> None:
        await get_backend("bare").checkpoint()
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    with pytest.raises(BareSuspensionError, match="no event loop that could ever"):
        get_backend("bare").run(waits)
    loop.close()


@pytest.mark.asyncgen_leaks("off")  # it leaks on purpose
def test_checkpoint_in_cleanup_on_bare() -> None:
    """On `bare` a generator that is dropped, or closed with its runner, may checkpoint while it cleans up."""
    bare = get_backend("bare")
    log: list[str] = []

    async def cleans_up(name: str) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await bare.checkpoint()
            await bare.checkpoint()
            log.append(name)

    async def drops(keep: list[Any]) -> None:
        await anext(cleans_up("dropped"))
        keep.append(cleans_up("kept"))
        await anext(keep[0])

    kept: list[Any] = []
    with bare.runner() as runner:
        runner.run(drops, kept)
        assert log == ["dropped"]
    assert log == ["dropped", "kept"]


def test_virtual_time(row: Backend) -> None:
    """Each row but uvloop has virtual time; each loop of it gets a clock of its own."""
    if row.id == "uvloop":
        with pytest.raises(UnknownBackendError, match="its own clock"):
            row.with_virtual_time()
        return
    virtual = row.with_virtual_time()
    assert (virtual.id, virtual.virtual, row.virtual) == (row.id, True, False)
    for _ in range(2):
        assert list(virtual.drive(counted(virtual, 2))) == [0, 1]
    if row.name != "bare":
        import anyio

        async def sleep() -> float:
            await anyio.sleep(3600)
            return anyio.current_time()

        assert [virtual.run(sleep), virtual.run(sleep)] == [3600, 3600]


def test_unknown_name() -> None:
    """An unknown name is a LookupError that lists the names there are."""
    with pytest.raises(UnknownBackendError, match=r"'curio' for tests\. There are: asyncio, trio, bare, uvloop, level"):
        get_backend("curio")
    with pytest.raises(UnknownBackendError, match="curio"):
        installed_backends("asyncio", "curio")


def test_installed_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the three usual rows, without those whose library is missing; a missing one says which."""

    def find_spec(name: str) -> object:
        return None if name == "trio" else object()

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert [row.id for row in installed_backends()] == ["asyncio", "bare"]
    assert [row.id for row in installed_backends("level", "asyncio")] == ["level", "asyncio"]
    assert get_backend("trio").missing == "backend 'trio' needs trio, which is not installed"


def test_front_door_loads_nothing() -> None:
    """`import asyncgen_tools.testing` loads no event loop and no testing library; neither do backends and `bare`."""
    from tests.children import run_child

    libraries = ["asyncio", "trio", "anyio", "pytest", "hypothesis"]
    script = f"""
        import sys
        import asyncgen_tools.testing as kit
        print(*(name for name in {libraries} if name in sys.modules), "end")
        async def two():
            yield 1
            yield 2
        with kit.record_transcripts() as transcripts, kit.track_async_generators() as tracker:
            assert list(kit.get_backend("bare").drive(two())) == [1, 2]
        tracker.check()
        print(*(name for name in {libraries} if name in sys.modules), "end")
    """
    child = run_child(script)
    assert (child.status, child.out, child.err) == (0, ["end", "end"], [])
    assert sys.modules
