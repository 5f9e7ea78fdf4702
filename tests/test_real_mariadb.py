"""Rows of a real MariaDB server, through aiomysql's server-side cursor, in plain `for` loops.

`python tests/mariadb_server.py python -m pytest tests/test_real_mariadb.py` brings the server.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from asyncgen_tools import Portal, Runner, delegating, yield_from
from asyncgen_tools.errors import StepTimeoutError
from tests import mariadb_server
from tests.conftest import BACKENDS, as_parameter
from tests.mariadb_server import VARIABLE
from tests.ways import ProbeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    import aiomysql

    from tests.conftest import Backend
else:
    aiomysql = pytest.importorskip("aiomysql", reason="aiomysql is not installed")

pytestmark = pytest.mark.skipif(
    VARIABLE not in os.environ, reason=f"{VARIABLE} names no server: see tests/mariadb_server.py"
)

ROWS = 100_000
CREATE = "CREATE TABLE IF NOT EXISTS numbers AS SELECT seq AS id, seq % 10 AS digit FROM seq_1_to_100000"
NUMBERS = "SELECT id, digit FROM numbers ORDER BY id"
# What the buffers of sockets and of the driver hold is little against the whole of it.
WIDE = "SELECT id, REPEAT('x', 1000) FROM numbers ORDER BY id"
# A double reaches to exp(709.78): the server sends thousands of rows before it finds that it cannot go on.
OVERFLOWING = "SELECT id, EXP(id / 10) FROM numbers ORDER BY id"


def address() -> dict[str, Any]:
    """The server of this run, as keyword arguments of aiomysql."""
    url = urlsplit(os.environ[VARIABLE])
    return {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "db": url.path.removeprefix("/"),
        "autocommit": True,
    }


async def select(connection: aiomysql.Connection, query: str, log: list[str] | None = None) -> AsyncGenerator[Any, Any]:
    """The rows of a query as the server sends them; the cursor lives as long as the generator."""
    cursor = await connection.cursor(aiomysql.SSCursor)
    try:
        await cursor.execute(query)
        while (row := await cursor.fetchone()) is not None:
            yield row
    finally:
        if not connection.closed:  # or SSCursor.close() would read from a stream that is None, and hide the error
            await cursor.close()
        if log is not None:
            log.append("closed")


@delegating
async def select_from(pool: aiomysql.Pool, query: str) -> AsyncGenerator[Any, Any]:
    """The same on a connection borrowed from a pool, which gets it back after the cursor is closed."""
    async with pool.acquire() as connection:
        await yield_from(select(connection, query))
    return
    yield  # type: ignore[unreachable]  # it makes this an async generator function


async def scalar(connection: aiomysql.Connection, query: str) -> Any:
    """The one value that a query gives."""
    async with connection.cursor() as cursor:
        await cursor.execute(query)
        [value] = await cursor.fetchone()
        return value


@pytest.fixture(name="backend", params=[as_parameter(backend) for backend in BACKENDS if backend.name == "asyncio"])
def backend_fixture(request: pytest.FixtureRequest) -> Backend:
    """The backends for which aiomysql is written."""
    chosen: Backend = request.param
    return chosen


@pytest.fixture(name="opened", params=[Runner, Portal])
def opened_fixture(request: pytest.FixtureRequest, backend: Backend) -> Generator[Runner | Portal]:
    """What drives the generators: with the event loop in this thread, or in a thread of its own."""
    with request.param(backend=backend.name, backend_options=backend.options) as opened:
        yield opened


@pytest.fixture(name="connection")
def connection_fixture(opened: Runner | Portal) -> Generator[aiomysql.Connection]:
    """A connection to a database with the table `numbers`."""
    with opened.wrap_async_context_manager(aiomysql.connect(**address())) as connection:
        opened.run(connection.query, CREATE)
        yield connection


@pytest.mark.parametrize("opened, options", [(Runner, {}), (Portal, {"prefetch": 64})], indirect=["opened"])
def test_all_rows(opened: Runner | Portal, options: dict[str, Any], connection: aiomysql.Connection) -> None:
    """Every row of a server-side cursor arrives, in order, and the cursor is closed after the last one."""
    log: list[str] = []
    rows = list(opened.drive(select(connection, NUMBERS, log), **options))
    assert rows == [(number, number % 10) for number in range(1, ROWS + 1)]
    assert log == ["closed"]


@pytest.mark.parametrize("opened", [Portal], indirect=True)
def test_leaving_rows_that_were_fetched_ahead(opened: Portal, connection: aiomysql.Connection) -> None:
    """Leaving the loop closes the cursor at once, also where the portal has fetched rows ahead (A8)."""
    log: list[str] = []
    for number, _ in opened.drive(select(connection, NUMBERS, log), prefetch=64):
        if number == 1_000:
            break
    assert log == ["closed"]
    assert opened.run(scalar, connection, "SELECT count(*) FROM numbers") == ROWS


def test_early_break(opened: Runner | Portal, connection: aiomysql.Connection) -> None:
    """Leaving the loop closes the cursor at once, in the middle of its rows, and the connection answers again (A8)."""
    log: list[str] = []
    for number, _ in opened.drive(select(connection, NUMBERS, log)):
        if number == 1_000:
            break
    assert log == ["closed"]
    assert opened.run(scalar, connection, "SELECT count(*) FROM numbers") == ROWS


@pytest.mark.usefixtures("connection")
def test_closing_the_connection(opened: Runner | Portal) -> None:
    """Closing the connection before the loop is left spares the reading of what is left of the result."""
    log: list[str] = []

    async def close(connection: aiomysql.Connection) -> None:
        connection.close()

    with opened.wrap_async_context_manager(aiomysql.connect(**address())) as connection:
        for number, _ in opened.drive(select(connection, WIDE, log)):
            if number == 10:
                opened.run(close, connection)
                break
        assert log == ["closed"]
        assert connection.closed


def test_error_of_the_server(opened: Runner | Portal, connection: aiomysql.Connection) -> None:
    """An error that the server meets after thousands of rows arrives as the driver's own (A9)."""
    log: list[str] = []
    received: list[int] = []
    with pytest.raises(aiomysql.OperationalError, match="out of range"):
        received.extend(number for number, _ in opened.drive(select(connection, OVERFLOWING, log)))
    assert received == list(range(1, 7_098))
    assert log == ["closed"]
    assert opened.run(scalar, connection, "SELECT 1") == 1


def test_error_of_the_caller(opened: Runner | Portal, connection: aiomysql.Connection) -> None:
    """An exception of the loop's body closes the cursor, and so does one thrown in: it comes back as it is (A1, A9)."""
    log: list[str] = []
    with pytest.raises(ProbeError), opened.drive(select(connection, NUMBERS, log)) as rows:
        for number, _ in rows:
            if number == 1_000:
                raise ProbeError
    assert log == ["closed"]

    error = ProbeError()
    rows = opened.drive(select(connection, NUMBERS, log))
    assert next(rows) == (1, 1)
    with pytest.raises(ProbeError) as caught:
        rows.throw(error)
    assert caught.value is error
    assert log == ["closed", "closed"]
    assert opened.run(scalar, connection, "SELECT 1") == 1


@pytest.mark.usefixtures("connection")
def test_pool_shared_by_generators(opened: Runner | Portal) -> None:
    """Generators stepped in turns hold a connection each; the pool gets all back when the loop is left (A4, A8)."""
    query = "SELECT CONNECTION_ID(), id FROM numbers ORDER BY id LIMIT 5000"
    with opened.wrap_async_context_manager(aiomysql.create_pool(minsize=0, maxsize=3, **address())) as pool:
        for _ in range(2):
            turns = 0
            with ExitStack() as stack:
                generators = [stack.enter_context(opened.drive(select_from(pool, query))) for _ in range(3)]
                for turns, rows in enumerate(zip(*generators, strict=True), start=1):
                    connections, numbers = zip(*rows, strict=True)
                    assert numbers == (turns, turns, turns)
                    assert len(set(connections)) == 3
                    assert (pool.size, pool.freesize) == (3, 0)
                    if turns == 1_000:
                        break
            assert turns == 1_000
            assert (pool.size, pool.freesize) == (3, 3)


@pytest.mark.usefixtures("connection")
def test_empty_pool(opened: Runner | Portal) -> None:
    """A generator that waits for a connection which another one holds ends by its timeout, the pool whole (A11)."""
    few = NUMBERS + " LIMIT 1000"
    with opened.wrap_async_context_manager(aiomysql.create_pool(minsize=0, maxsize=1, **address())) as pool:
        with opened.drive(select_from(pool, few)) as holder:
            assert next(holder) == (1, 1)
            with pytest.raises(StepTimeoutError):
                next(opened.drive(select_from(pool, few), timeout=0.05))
            assert next(holder) == (2, 2)
        assert sum(1 for _ in opened.drive(select_from(pool, few))) == 1_000


@pytest.mark.usefixtures("connection")
def test_killed_connection(opened: Runner | Portal, connection: aiomysql.Connection) -> None:
    """Killed by the server in mid-stream, the generator ends with the driver's error; the runner goes on (A9)."""
    log: list[str] = []
    received = 0
    with opened.wrap_async_context_manager(aiomysql.connect(**address())) as victim:
        with pytest.raises(aiomysql.OperationalError, match="Lost connection"):
            for received, _ in opened.drive(select(victim, WIDE, log)):
                if received == 10:
                    opened.run(connection.query, f"KILL CONNECTION {victim.thread_id()}")
        assert victim.closed
    assert 10 <= received < ROWS
    assert log == ["closed"]
    assert opened.run(scalar, connection, "SELECT count(*) FROM numbers") == ROWS
    with opened.wrap_async_context_manager(aiomysql.connect(**address())) as successor:
        assert next(opened.drive(select(successor, WIDE)))[0] == 1


def test_server_ends_with_its_command() -> None:
    """The script that brings the server gives the exit status of its command, and has no server left then."""
    script = f"import os, sys; print(os.environ[{VARIABLE!r}]); sys.exit(7)"
    command = [sys.executable, mariadb_server.__file__, sys.executable, "-c", script]
    completed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (7, "")
    url = urlsplit(completed.stdout)
    assert url.hostname == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((url.hostname, url.port or 0))
