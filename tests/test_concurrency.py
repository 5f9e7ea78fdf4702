"""concurrent_map as its users see it: results, their order and their end, and what is refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import concurrent_map
from asyncgen_tools.concurrency import Results
from asyncgen_tools.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ClosedError,
    FunctionTypeError,
    NotEnteredError,
    ReusedError,
    SourceTypeError,
)
from tests.concurrency_helpers import Calls, ProbeError, Source, double, run, settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from tests.conftest import Backend


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 50])
@pytest.mark.parametrize("kind", ["list", "generator", "async generator", "async iterable"])
def test_every_item_gives_its_result(backend: Backend, ordered: bool, limit: int, kind: str) -> None:
    """Each item of a sync or async source is called for once, and its result comes out once, in order if so asked."""

    async def generator() -> AsyncGenerator[int, None]:
        for number in range(20):
            yield number

    async def main() -> list[int]:
        sources: dict[str, Any] = {
            "list": list(range(20)),
            "generator": (number for number in range(20)),
            "async generator": generator(),
            "async iterable": Source(range(20)),
        }
        async with concurrent_map(double, sources[kind], limit=limit, ordered=ordered) as results:
            return [result async for result in results]

    results = run(backend, main)
    assert (results if ordered else sorted(results)) == [2 * number for number in range(20)]


def test_empty_source(backend: Backend) -> None:
    """A source without items gives no results, and a block that nobody takes results in ends."""

    async def main() -> list[int]:
        async with concurrent_map(double, [1, 2], limit=2):
            pass
        async with concurrent_map(double, list[int](), limit=2) as results:
            return [result async for result in results]

    assert run(backend, main) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_order(backend: Backend, ordered: bool) -> None:
    """Calls that end in reverse give their results in the order of the items, or as they are completed."""

    async def main() -> list[int]:
        ended = [anyio.Event() for _ in range(4)]

        async def backwards(number: int) -> int:
            if number < 3:
                await ended[number + 1].wait()
            ended[number].set()
            return number

        async with concurrent_map(backwards, range(4), limit=4, ordered=ordered) as results:
            return [result async for result in results]

    assert run(backend, main) == ([0, 1, 2, 3] if ordered else [3, 2, 1, 0])


def test_cancelled_taking_loses_nothing(backend: Backend) -> None:
    """Cancelling a task that waits for a result, by a timeout for example, ends nothing and loses no result."""

    async def main() -> None:
        calls = Calls()
        async with concurrent_map(calls, range(9), limit=3) as results:
            with anyio.move_on_after(0.01) as scope:
                await anext(results)
            assert scope.cancelled_caught
            calls.gate.set()
            assert [result async for result in results] == list(range(9))

    run(backend, main)


def test_several_consumers(backend: Backend) -> None:
    """Several tasks may take results: each result goes to one of them, and each sees the end."""

    async def main() -> None:
        had: list[list[int]] = [[], [], []]

        async def consume(own: list[int]) -> None:
            async for result in results:
                own.append(result)
                await anyio.sleep(0)

        async with concurrent_map(double, range(60), limit=6) as results, anyio.create_task_group() as group:
            for own in had:
                group.start_soon(consume, own)
        assert sorted(itertools.chain(*had)) == [2 * number for number in range(60)]
        assert all(had)

    run(backend, main)


def test_aclose(backend: Backend) -> None:
    """`aclose()` ends everything at once, inside the block; after it there are no results, and it may be repeated."""

    async def main() -> None:
        source, calls = Source(range(100)), Calls()
        async with concurrent_map(calls, source, limit=3) as results:
            assert isinstance(results, Results)
            await settle()
            await results.aclose()
            assert sorted(calls.cancelled) == [0, 1, 2]
            assert source.closed
            assert [result async for result in results] == []
            await results.aclose()

    run(backend, main)


def test_aclose_raises_what_was_not_given_out(backend: Backend) -> None:
    """`aclose()` raises the error of a call that was not given out, once."""

    async def call(number: int) -> int:
        raise ProbeError

    async def main() -> None:
        async with concurrent_map(call, range(100), limit=3) as results:
            await settle()
            with pytest.raises(ProbeError):
                await results.aclose()
            await results.aclose()

    run(backend, main)


def test_taken_after_the_block(backend: Backend) -> None:
    """Results that are asked for after the block are an error if there would have been more, and else the end."""

    async def main() -> None:
        async with concurrent_map(double, range(10), limit=3) as results:
            await anext(results)
        with pytest.raises(ClosedError, match="inside the `async with` block"):
            await anext(results)
        async with concurrent_map(double, range(10), limit=3) as results:
            assert len([result async for result in results]) == 10
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    run(backend, main)


def test_entered_again(backend: Backend) -> None:
    """A block is entered once; not entered, it touches neither function nor source."""

    async def main() -> None:
        block = concurrent_map(double, range(3), limit=3)
        async with block as results:
            assert len([result async for result in results]) == 3
        with pytest.raises(ReusedError, match=r"Call concurrent_map\(\) again"):
            await block.__aenter__()

    run(backend, main)


def test_inside_a_driven_generator(backend: Backend) -> None:
    """An async generator that holds the block over its yields can be driven, left early, and leaves nothing running."""
    source = Source(range(100))

    async def generator() -> AsyncGenerator[int, None]:
        async with concurrent_map(double, source, limit=3) as results:
            async for result in results:
                yield result

    with backend.drive(generator()) as items:
        assert [next(items) for _ in range(5)] == [0, 2, 4, 6, 8]
        before = source.closed
    assert (before, source.closed) == (False, True)
    assert list(backend.drive(generator())) == [2 * number for number in range(100)]


def test_nested(backend: Backend) -> None:
    """Results are a source for another block, and are closed by it."""

    async def main() -> None:
        async with (
            concurrent_map(double, range(30), limit=3) as doubles,
            concurrent_map(double, doubles, limit=4) as results,
        ):
            assert [result async for result in results] == [4 * number for number in range(30)]

    run(backend, main)


def unstarted() -> Generator[int]:
    """A generator function."""
    yield 1


def test_not_entered(backend: Backend) -> None:
    """Iterating over the context manager itself is a TypeError that says what to write."""
    block: Any = concurrent_map(double, [1], limit=1)

    async def main() -> None:
        async for _ in block:
            pass

    with pytest.raises(NotEnteredError, match=r"Write `async with concurrent_map\(...\) as results:`"):
        run(backend, main)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "limit 0": ({"limit": 0}, ArgumentValueError, "limit=0 lets no call be made"),
    "limit -1": ({"limit": -1}, ArgumentValueError, "an int from 1 on"),
    "limit 2.5": ({"limit": 2.5}, ArgumentTypeError, "2.5 of type float is no whole number"),
    "source 5": ({"source": 5}, SourceTypeError, "or a sync iterable, not 5 of type int.*__aiter__ or __iter__"),
    "generator function": ({"source": unstarted}, SourceTypeError, r"write concurrent_map\(unstarted\(...\)\)"),
    "no function": ({"function": 5}, FunctionTypeError, "5 of type int, which cannot be called"),
    "async generator function": ({"function": Source.__aiter__}, FunctionTypeError, "is a generator function"),
    "async on an executor": ({"executor": "pool"}, FunctionTypeError, r"has no submit\(\) method"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_at_the_call(case: str) -> None:
    """What cannot work is refused by the call of concurrent_map, with what to write instead."""
    given, error, message = REFUSED[case]
    arguments: dict[str, Any] = {"function": double, "source": [], "limit": 1, **given}
    with pytest.raises(error, match=message):
        concurrent_map(arguments.pop("function"), arguments.pop("source"), **arguments)


def test_refused_coroutines_are_closed() -> None:
    """A coroutine in the place of the function or the source is refused, and closed, as nobody else will."""
    for error, arguments in ((FunctionTypeError, (double(1), [1])), (SourceTypeError, (double, double(1)))):
        untyped: Any = concurrent_map
        with pytest.raises(error, match=r"double"):
            untyped(*arguments, limit=1)


def test_import_loads_no_event_loop(tmp_path: Path) -> None:
    """Importing concurrent_map loads neither asyncio nor anyio; those are loaded when a block is entered."""
    script = "import sys; from asyncgen_tools import concurrent_map; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert set(loaded.stdout.split()) & {"asyncio", "anyio", "trio", "concurrent"} == set()
