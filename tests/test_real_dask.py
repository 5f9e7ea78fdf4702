"""concurrent_map on a real dask.distributed cluster: a scheduler and a worker on loopback, without their dashboard."""

from __future__ import annotations

import operator
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import concurrent_map
from tests.concurrency_helpers import Source, run

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Executor

    from tests.conftest import Backend

holds_lock: ContextVar[Any] = ContextVar("holds_lock")

distributed: Any = pytest.importorskip("distributed", reason="dask.distributed is not installed")


@pytest.fixture(name="dask", scope="module")
def dask_fixture() -> Generator[Executor]:
    """The executor of a client of a cluster with one worker, two threads of this process; it all ends here."""
    cluster_options: dict[str, Any] = {
        "n_workers": 1,
        "threads_per_worker": 2,
        "processes": False,
        "host": "127.0.0.1",
        "protocol": "tcp://",
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**cluster_options) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor(pure=False)


@pytest.mark.parametrize("ordered", [True, False])
def test_results(backend: Backend, dask: Executor, ordered: bool) -> None:
    """The cluster calls a function for each item of a sync or async source; results come in order if asked to."""

    async def main() -> None:
        for source in (range(12), Source(range(12))):
            async with concurrent_map(operator.neg, source, limit=8, executor=dask, ordered=ordered) as results:
                given = [result async for result in results]
            assert (given if ordered else sorted(given, reverse=True)) == [-number for number in range(12)]

    run(backend, main)


def test_error(backend: Backend, dask: Executor) -> None:
    """An error on the cluster arrives with its type and message, after the results that were due before it."""

    async def main() -> None:
        had: list[int] = []
        async with concurrent_map(int, ["1", "2", "three", "4"], limit=1, executor=dask) as results:
            with pytest.raises(ValueError, match="'three'"):
                async for result in results:
                    had.append(result)  # noqa: PERF401  # what was had before the error is the point
        assert had == [1, 2]

    run(backend, main)


def test_early_exit(backend: Backend, dask: Executor) -> None:
    """Leaving early cancels what the cluster has not done, closes the source, and the executor can be used again."""

    async def main() -> None:
        source = Source(range(1000))
        async with concurrent_map(operator.neg, source, limit=8, executor=dask) as results:
            assert [await anext(results) for _ in range(3)] == [0, -1, -2]
        assert source.closed
        assert source.taken <= 11
        with anyio.CancelScope() as scope:
            async with concurrent_map(operator.neg, Source(range(1000)), limit=8, executor=dask) as results:
                await anext(results)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with concurrent_map(operator.neg, [1], limit=8, executor=dask) as results:
            assert [result async for result in results] == [-1]

    run(backend, main)


def test_context_stays_here(dask: Executor) -> None:
    """The cluster is sent the function and the item alone: what cannot be pickled need not be."""
    lock = threading.Lock()

    async def main() -> None:
        holds_lock.set(lock)
        async with concurrent_map(operator.neg, [1, 2], limit=2, executor=dask) as results:
            assert [result async for result in results] == [-1, -2]

    anyio.run(main)
