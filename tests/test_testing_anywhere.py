"""The kit outside of pytest: in a plain script, in unittest, in threads; and interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncgen_tools.testing import check_async_generator, installed_backends, sweep_cancellation, sweep_close
from tests.shelf.tools import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHECKOUT = Path(__file__).parent.parent

SCRIPT = """
import asyncio, sys
from asyncgen_tools import drive
from asyncgen_tools.testing import check_async_generator, sweep_cancellation, sweep_close, track_async_generators
from asyncgen_tools.testing import virtual_time

async def numbers():
    for number in range(3):
        await asyncio.sleep(3600)
        yield number

async def quick():
    await asyncio.sleep(0)
    yield 1

async def leaks():
    async for _ in quick():
        break

assert list(drive(numbers(), backend_options=virtual_time("asyncio"))) == [0, 1, 2]
assert {verdict.result for verdict in check_async_generator(quick)} == {"passed"}
assert not sweep_cancellation(quick).problems and not sweep_close(quick).problems

async def main():
    with track_async_generators() as tracker:
        await leaks()
    return tracker.leaks

assert len(asyncio.run(main())) == 1
assert not {"pytest", "hypothesis", "trio"} & set(sys.modules)
print("all went well")
"""

UNITTEST = """
import asyncio, unittest
from asyncgen_tools.testing import check_async_generator, sweep_cancellation, track_async_generators

async def quick():
    await asyncio.sleep(0)
    yield 1

async def swallows():
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass
    yield 1

class Tests(unittest.TestCase):
    def test_good(self):
        check_async_generator(quick)

    @unittest.expectedFailure
    def test_broken(self):
        check_async_generator(swallows)

    def test_message(self):
        with self.assertRaisesRegex(AssertionError, "swallowed"):
            sweep_cancellation(swallows)

class AsyncTests(unittest.IsolatedAsyncioTestCase):
    async def test_leak(self):
        with track_async_generators() as tracker:
            async for _ in quick():
                break
        with self.assertRaisesRegex(AssertionError, "quick"):
            tracker.check()

unittest.main(verbosity=2)
"""


def run_script(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a script with every warning an error."""
    (folder / "script.py").write_text(code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_in_a_plain_script(tmp_path: Path) -> None:
    """A script without pytest uses checks, sweeps, leak tracking and virtual time; none of them loads pytest."""
    completed = run_script(tmp_path, SCRIPT)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == "all went well\n"
    assert completed.stderr == ""


def test_in_unittest(tmp_path: Path) -> None:
    """Under unittest a finding is a failure, in plain and in async test cases."""
    completed = run_script(tmp_path, UNITTEST)
    assert completed.returncode == 0, completed.stderr
    assert "Ran 4 tests" in completed.stderr
    assert "OK (expected failures=1)" in completed.stderr


async def numbers() -> AsyncGenerator[int, None]:
    """A good generator."""
    for number in range(2):
        await checkpoint()
        yield number


def everything(row: str) -> bool:
    """Checks and sweeps on a row; whether all is well."""
    verdicts = check_async_generator(numbers, backends=[row])
    reports = sweep_cancellation(numbers, backend=row), sweep_close(numbers, backend=row)
    return {verdict.result for verdict in verdicts} == {"passed"} and not any(report.problems for report in reports)


def test_in_threads() -> None:
    """Several threads check at the same time without disturbing one another."""
    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(everything, [row.id for row in installed_backends("asyncio", "trio", "level")] * 2))


def test_keyboard_interrupt_goes_through() -> None:
    """Ctrl-C in checked code is Ctrl-C, and no finding: it ends the check, the sweeps and their watchdogs."""

    async def interrupted() -> AsyncGenerator[int, None]:
        await checkpoint()
        yield 1
        await checkpoint()
        raise KeyboardInterrupt

    for function in (check_async_generator, sweep_cancellation, sweep_close):
        with pytest.raises(KeyboardInterrupt):
            function(interrupted)
