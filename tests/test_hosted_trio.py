"""`hosted` on trio alone: sources that break trio's rule of nesting, and Ctrl-C where one computes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import hosted
from tests.children import interrupt_child
from tests.ways import ProbeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

trio = pytest.importorskip("trio", reason="trio is not installed")


async def leaves_a_scope() -> AsyncGenerator[int]:
    """Ends in a cancel scope that it never leaves."""
    trio.CancelScope().__enter__()
    yield 1


async def leaves_a_nursery() -> AsyncGenerator[int]:
    """Ends in a nursery that it never leaves."""
    await trio.open_nursery().__aenter__()
    yield 1


@pytest.mark.parametrize("source", [leaves_a_scope, leaves_a_nursery])
@pytest.mark.parametrize("whole", [True, False], ids=["exhausted", "left early"])
def test_scope_left_open(source: Callable[[], AsyncGenerator[int]], whole: bool) -> None:
    """A source that ends inside of a scope or nursery of its own costs the block an error, not the run (A9)."""
    seen: list[int] = []

    async def block() -> None:
        async with hosted(source()) as generator:
            seen.append(await anext(generator))
            if whole:
                seen.extend([item async for item in generator])

    async def main() -> str:
        with pytest.raises(RuntimeError, match="stack corrupted"):
            await block()
        await trio.lowlevel.checkpoint()
        return "goes on"

    assert trio.run(main) == "goes on"
    assert seen == [1]


def test_scope_left_open_by_an_error() -> None:
    """The error of the cleanup is the context of the error that says which scope was left open (A9)."""

    async def source() -> AsyncGenerator[int]:
        trio.CancelScope().__enter__()
        try:
            yield 1
        finally:
            raise ProbeError

    async def main() -> BaseException | None:
        with pytest.raises(RuntimeError, match="stack corrupted") as caught:
            async with hosted(source()) as generator:
                await anext(generator)
        return caught.value.__context__

    assert type(trio.run(main)) is ProbeError


def test_scope_left_open_at_the_end_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody leaves the block, the error of a scope that was left open is reported (A8)."""
    reported: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)

    async def main() -> None:
        await anext(await hosted(leaves_a_scope()).__aenter__())

    with pytest.warns(ResourceWarning, match="the end of the block was not reached"):
        trio.run(main)
    assert [args.exc_type for args in reported] == [RuntimeError]
    assert "stack corrupted" in str(reported[0].exc_value)


def test_ctrl_c_where_the_source_computes() -> None:
    """Ctrl-C strikes a source that computes, which may catch it; else its consumer gets it, as in trio (A10)."""
    child = interrupt_child(
        """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import trio
from asyncgen_tools import hosted
def compute():
    try:
        os.write(1, b"now\\n")
        while True:
            pass
    except KeyboardInterrupt:
        print("struck", flush=True)
        raise
async def source():
    try:
        try:
            compute()
        except KeyboardInterrupt:
            pass
        yield 1
        await trio.lowlevel.checkpoint()
        compute()
        yield 2
    finally:
        await trio.lowlevel.checkpoint()
        print("cleaned", flush=True)
async def main():
    async with hosted(source()) as generator:
        print(await anext(generator), flush=True)
        try:
            await anext(generator)
        except KeyboardInterrupt:
            print("consumer", flush=True)
            raise
try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted", flush=True)
""",
        signals=(signal.SIGINT, signal.SIGINT),
    )
    assert (child.status, child.err) == (0, [])
    assert child.out == ["struck", "1", "struck", "cleaned", "consumer", "interrupted"]
