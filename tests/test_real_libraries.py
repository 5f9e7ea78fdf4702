"""What the checks say of the async iterators of real libraries.

Each finding is explained by a reproduction that uses nothing of this package, and is expected exactly as long as that
reproduces it: a library that mends it breaks no test, and a finding without a reproduction is a bug of ours.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools.testing import get_backend
from asyncgen_tools.testing.conformance import chosen_checks, examine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

# What is dropped here is what the checks are to find.
pytestmark = pytest.mark.asyncgen_leaks("off")

ROWS = ("asyncio", "trio")


def findings(make: Callable[[], Any], *rows: str, skip: Collection[str] = ()) -> set[str]:
    """The codes of the checks that reject what a factory gives, on any of some rows that are installed."""
    found: set[str] = set()
    for row in rows or ROWS:
        backend = get_backend(row)
        if backend.missing is None:
            codes = chosen_checks(None, skip=skip)
            verdicts = examine(make, backends=[backend], codes=codes, max_yields=3, timeout=20)
            found |= {verdict.code for verdict in verdicts if verdict.error is not None}
    return found


def dropped_by(make: Callable[[], Any], steps: int) -> list[str]:
    """The async generators that are lost unfinished when an iterator is stepped and closed: a reproduction."""
    names: list[str] = []

    async def main() -> None:
        hooks = sys.get_asyncgen_hooks()

        def finalizer(generator: Any) -> None:
            names.append(generator.__qualname__)
            assert hooks.finalizer is not None
            hooks.finalizer(generator)

        sys.set_asyncgen_hooks(finalizer=finalizer)
        iterator = aiter(make())
        for _ in range(steps):
            await anext(iterator, None)
        await iterator.aclose()
        del iterator
        sys.set_asyncgen_hooks(*hooks)
        await asyncio.sleep(0)

    asyncio.run(main())
    return names


def expected(*, leaks: list[str]) -> set[str]:
    """The findings that a reproduction of a leak makes one expect."""
    return {"leak"} if leaks else set()


async def numbers() -> AsyncGenerator[int, None]:
    """0, 1, 2, with a suspension before each."""
    import anyio

    for number in range(3):
        await anyio.sleep(0)
        yield number


def test_anyio_memory_channel() -> None:
    """Anyio's memory channel is a good async iterator, also in that several consumers may share it."""
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")

    def make() -> Any:
        send, receive = anyio.create_memory_object_stream[int](3)
        for number in range(3):
            send.send_nowait(number)
        send.close()
        return receive

    assert findings(make) == set()


def test_trio_memory_channel() -> None:
    """Trio's memory channel, too."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    def make() -> Any:
        send, receive = trio.open_memory_channel(3)
        for number in range(3):
            send.send_nowait(number)
        send.close()
        return receive

    assert findings(make, "trio") == set()


def test_aiosqlite_rows() -> None:
    """Leaving the rows of a cursor early loses the generator in which aiosqlite fetches them in chunks."""
    aiosqlite = pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")

    async def rows() -> AsyncGenerator[Any, None]:
        async with (
            aiosqlite.connect(":memory:") as connection,
            connection.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3") as cursor,
        ):
            async for row in cursor:
                yield row

    # A cancelled call goes on in aiosqlite's thread, which then answers a closed loop: noise, and not for a test run.
    found = findings(rows, "asyncio", skip=["cleanup-needs-shield", "cancel-swallowed"])
    assert found == expected(leaks=dropped_by(rows, 1))


@pytest.mark.parametrize("method", ["aiter_raw", "aiter_bytes", "aiter_text", "aiter_lines"])
def test_httpx_streams(method: str) -> None:
    """A stream of httpx that is closed early loses the generators below it, which it iterates by `async for`."""
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")

    class Body(httpx.AsyncByteStream):  # type: ignore[misc, name-defined, unused-ignore]
        """A body that comes in pieces; its base may be missing where types are checked."""

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            async for number in numbers():
                yield b"line %d\n" % number

        async def aclose(self) -> None:
            """Close it."""

    def make() -> Any:
        return getattr(httpx.Response(200, stream=Body()), method)()

    assert findings(make) == expected(leaks=dropped_by(make, 1))


def always(item: object) -> bool:
    """Take it, whatever it is."""
    del item
    return True


OPERATORS: dict[str, Callable[[Any], Any]] = {
    "accumulate": lambda lib: lib.accumulate(numbers()),
    "batched": lambda lib: lib.batched(numbers(), 2),
    "chain": lambda lib: lib.chain(numbers(), numbers()),
    "cycle": lambda lib: lib.cycle(numbers()),
    "enumerate": lambda lib: lib.enumerate(numbers()),
    "filter": lambda lib: lib.filter(None, numbers()),
    "islice": lambda lib: lib.islice(numbers(), 2),
    "map": lambda lib: lib.map(str, numbers()),
    "pairwise": lambda lib: lib.pairwise(numbers()),
    "takewhile": lambda lib: lib.takewhile(always, numbers()),
    "zip": lambda lib: lib.zip(numbers(), numbers()),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_asyncstdlib_operators(name: str) -> None:
    """Most operators of asyncstdlib are good; `map`, `zip` and `islice` lose a helper generator of their own."""
    library = pytest.importorskip("asyncstdlib", reason="asyncstdlib is not installed")

    def make() -> Any:
        return OPERATORS[name](library)

    assert findings(make) == expected(leaks=dropped_by(make, 1) + dropped_by(make, 3))


def test_asyncstdlib_groupby() -> None:
    """`groupby` cannot be closed before its first step: its aclose() uses an attribute that is not there yet."""
    library = pytest.importorskip("asyncstdlib", reason="asyncstdlib is not installed")

    def make() -> Any:
        return library.groupby(numbers())

    async def close_unstarted() -> bool:
        try:
            await make().aclose()
        except AttributeError:
            return True
        return False

    assert findings(make) == ({"protocol"} if asyncio.run(close_unstarted()) else set())


@pytest.mark.parametrize("name", ["chunks", "iterate", "map", "take"])
def test_aiostream_operators(name: str) -> None:
    """Streams of aiostream are good when they are used as its manual says, in `async with`."""
    streams = pytest.importorskip("aiostream.stream", reason="aiostream is not installed")
    arguments: dict[str, tuple[Any, ...]] = {"chunks": (2,), "map": (str,), "take": (2,)}

    async def items() -> AsyncGenerator[Any, None]:
        async with getattr(streams, name)(numbers(), *arguments.get(name, ())).stream() as streamer:
            async for item in streamer:
                yield item

    assert findings(items) == set()


@pytest.mark.filterwarnings("ignore:Streamer is iterated outside of its context:UserWarning")
def test_aiostream_streamer_itself() -> None:
    """A streamer is no async generator, so that it may refuse to be iterated after its close by an error of its own."""
    streams = pytest.importorskip("aiostream.stream", reason="aiostream is not installed")
    assert findings(lambda: streams.iterate(numbers()).stream(), "asyncio") == set()
