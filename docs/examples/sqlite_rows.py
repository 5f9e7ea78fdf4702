"""Stream the rows of an SQLite file through aiosqlite into a plain `for` loop.

    python docs/examples/sqlite_rows.py [--rows 200000] [--rounds 5]

One Runner opens the connection and drives every query, so connection, cursor and rows live on the same event loop, in
this thread. The same loop is then timed against its `async for` twin, alternately, and the best of each is compared.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import aiosqlite

from asyncgen_tools import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ORDERS = "SELECT region, amount FROM orders"


def make_file(path: Path, rows: int) -> None:
    """Write an SQLite file with a table of `rows` orders."""
    dice = random.Random(42)  # noqa: S311  # no secret: the same file every time
    regions = ("north", "east", "south", "west")
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, region TEXT, amount INTEGER)")
        database.executemany(
            "INSERT INTO orders (region, amount) VALUES (?, ?)",
            ((dice.choice(regions), dice.randrange(1, 1000)) for _ in range(rows)),
        )
    database.close()


async def select(connection: aiosqlite.Connection, query: str) -> AsyncGenerator[sqlite3.Row, None]:
    """The rows of a query, as an async library gives them; the cursor is closed when the generator is."""
    async with connection.execute(query) as cursor:
        while rows := list(await cursor.fetchmany(1000)):  # `async for` would leave a generator behind when it is left
            for row in rows:
                yield row


def sum_by_region(runner: Runner, connection: aiosqlite.Connection) -> dict[str, int]:
    """Aggregate all rows in synchronous code."""
    totals: defaultdict[str, int] = defaultdict(int)
    for region, amount in runner.drive(select(connection, ORDERS)):
        totals[region] += amount
    return totals


async def asum_by_region(connection: aiosqlite.Connection) -> dict[str, int]:
    """Its async twin, to compare with."""
    totals: defaultdict[str, int] = defaultdict(int)
    async for region, amount in select(connection, ORDERS):
        totals[region] += amount
    return totals


def first_order_above(runner: Runner, connection: aiosqlite.Connection, limit: int) -> int | None:
    """The id of the first order above `limit`; the loop is left early, which closes generator and cursor at once."""
    for identity, amount in runner.drive(select(connection, "SELECT id, amount FROM orders ORDER BY id")):
        if amount > limit:
            found: int = identity
            return found
    return None


def main() -> None:
    """Make the file, stream it, and print what came out and how long it took."""
    parser = argparse.ArgumentParser(description="Stream SQLite rows through aiosqlite into a plain for loop.")
    parser.add_argument("--rows", type=int, default=200_000, help="rows in the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of timing, best counts (default: %(default)s)")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, Runner() as runner:
        path = Path(folder, "orders.sqlite")
        make_file(path, options.rows)
        with runner.wrap_async_context_manager(aiosqlite.connect(path)) as connection:
            seconds: list[float] = []
            twin_seconds: list[float] = []
            totals: dict[str, int] = {}
            for _ in range(options.rounds):
                start = time.perf_counter()
                totals = sum_by_region(runner, connection)
                seconds.append(time.perf_counter() - start)

                start = time.perf_counter()
                twin_totals = runner.run(asum_by_region, connection)
                twin_seconds.append(time.perf_counter() - start)
                assert totals == twin_totals
            for region, total in sorted(totals.items()):
                print(f"{region:>6} {total:>12,}")

            found = first_order_above(runner, connection, 990)
            [(counted,)] = runner.drive(select(connection, "SELECT count(*) FROM orders"))
            print(f"left the second query at order {found}; the connection still answers: {counted:,} orders")
            best, twin_best = min(seconds), min(twin_seconds)
            print(f"{options.rows:,} rows in {best:.3f} s; async for: {twin_best:.3f} s; ratio {best / twin_best:.2f}")


if __name__ == "__main__":
    main()
