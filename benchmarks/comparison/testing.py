"""Tests of async generators: pytest is run on a file for each contender and question."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.comparison.asking import NotOfferedError, Topic


@dataclass(frozen=True, slots=True)
class Plugin:
    """How tests are written for one plugin, and how pytest is called.

    Attributes:
        options: of pytest.
        tests: for each question the module that answers it; a question that is not among them has nothing to try.
    """

    options: tuple[str, ...] = ()
    tests: dict[str, str] = field(default_factory=dict[str, str])


def outcome(plugin: Plugin, question: str) -> str:
    """The last line of pytest, such as "2 passed in 0.1s"."""
    if question not in plugin.tests:
        raise NotOfferedError
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder, "test_it.py")
        test.write_text(textwrap.dedent(plugin.tests[question]), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, *plugin.options]
        completed = subprocess.run(
            [*command, "-c", "/dev/null", str(test)], capture_output=True, text=True, check=False, timeout=50
        )
    return (completed.stdout.splitlines() or [completed.stderr])[-1]


BOTH = """
    import anyio
    {imports}

    async def numbers():
        await anyio.sleep(0)
        yield 1

    {decorator}
    {test}
"""
ASYNC_BOTH = """async def test_numbers():
        assert [number async for number in numbers()] == [1]"""
LEAKS = """
    {imports}

    async def inner():
        try:
            yield 1
        finally:
            pass

    async def first():
        async for number in inner():
            return number

    {decorator}
    {test}
"""
ASYNC_LEAKS = """async def test_first():
        assert await first() == 1"""
SLEEPS = """
    import time
    from contextlib import aclosing
    import anyio
    {imports}

    async def hours():
        while True:
            await anyio.sleep(3600)
            yield anyio.current_time()

    {decorator}
    {test}
"""


def on_both(plugin: Plugin) -> bool:
    """One test runs on asyncio and on trio without being written twice."""
    return re.match(r"2 passed", outcome(plugin, "both")) is not None


def finds_leaks(plugin: Plugin) -> bool:
    """A test that leaves an async generator unfinished fails, on every loop that it is run on."""
    last = outcome(plugin, "leaks")
    return re.search(r"\d+ (failed|error)", last) is not None and "passed" not in last


def skips_time(plugin: Plugin) -> bool:
    """A generator that sleeps for an hour is tested in less than a second of real time."""
    return re.match(r"\d+ passed", outcome(plugin, "hours")) is not None


def drives_in_given(plugin: Plugin) -> bool:
    """A test of an async generator takes generated values, by `@given`, and runs once for each."""
    return re.match(r"\d+ passed", outcome(plugin, "given")) is not None


def sweeps(plugin: Plugin) -> bool:
    """A cancellation at every `await` in turn finds the one that loses a lease."""
    return re.match(r"\d+ passed", outcome(plugin, "sweep")) is not None


GIVEN = """
    {imports}
    from hypothesis import given, settings, strategies

    async def up_to(limit):
        for number in range(limit):
            yield number

    {decorator}
    @settings(deadline=None)  # the machine may be busy
    @given(limit=strategies.integers(0, 5))
    {test}
"""
ASYNC_GIVEN = """async def test_up_to(limit):
        assert [number async for number in up_to(limit)] == list(range(limit))"""
ASYNC_SLEEPS = """async def test_hours({arguments}):
        begun = time.monotonic()
        async with aclosing(hours()) as clock:
            await anext(clock)
        assert time.monotonic() - begun < 1"""

OURS = Plugin(
    ("-p", "no:asyncio", "-p", "no:trio", "-W", "error", "-o", "asyncgen_leaks=error"),
    {
        "both": BOTH.format(
            imports="import pytest",
            decorator='@pytest.mark.asyncgen_backends("asyncio", "trio")',
            test="""def test_numbers(asyncgen_driver):
        assert list(asyncgen_driver(numbers())) == [1]""",
        ),
        "leaks": LEAKS.format(
            imports="",
            decorator="",
            test="""def test_first(asyncgen_backend):
        assert asyncgen_backend.run(first) == 1""",
        ),
        "hours": SLEEPS.format(
            imports="import pytest",
            decorator='@pytest.mark.asyncgen_backends("asyncio", "trio")',
            test="""def test_hours(asyncgen_driver):
        begun = time.monotonic()
        next(asyncgen_driver(hours(), virtual_time=True))
        assert time.monotonic() - begun < 1""",
        ),
        "given": GIVEN.format(
            imports="",
            decorator="",
            test="""def test_up_to(asyncgen_backend, limit):
        assert list(asyncgen_backend.drive(up_to(limit))) == list(range(limit))""",
        ),
        "sweep": """
            import asyncio
            import pytest
            from asyncgen_tools.errors import SweepError
            from asyncgen_tools.testing import sweep_cancellation

            def make():
                lent = []

                async def rows():
                    lent.append(1)
                    await asyncio.sleep(0)
                    try:
                        yield 1
                    finally:
                        lent.clear()

                return rows(), lent

            def check(lent, point):
                assert lent == []

            def test_rows():
                with pytest.raises(SweepError):
                    sweep_cancellation(make, check=check)
        """,
    },
)
PYTEST_ASYNCIO = Plugin(
    ("-p", "no:trio", "-p", "no:asyncgen_tools", "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function"),
    {
        "both": BOTH.format(imports="import pytest", decorator="@pytest.mark.asyncio", test=ASYNC_BOTH),
        "leaks": LEAKS.format(imports="import pytest", decorator="@pytest.mark.asyncio", test=ASYNC_LEAKS),
        "given": GIVEN.format(imports="import pytest", decorator="@pytest.mark.asyncio", test=ASYNC_GIVEN),
    },
)
ANYIO = Plugin(
    ("-p", "no:asyncio", "-p", "no:trio", "-p", "no:asyncgen_tools", "-W", "error"),
    {
        "both": BOTH.format(imports="import pytest", decorator="@pytest.mark.anyio", test=ASYNC_BOTH),
        "leaks": LEAKS.format(imports="import pytest", decorator="@pytest.mark.anyio", test=ASYNC_LEAKS),
        "given": GIVEN.format(imports="import pytest", decorator="@pytest.mark.anyio", test=ASYNC_GIVEN),
    },
)
PYTEST_TRIO = Plugin(
    ("-p", "no:asyncio", "-p", "no:asyncgen_tools", "-W", "error"),
    {
        "both": BOTH.format(imports="import pytest", decorator="@pytest.mark.trio", test=ASYNC_BOTH),
        "leaks": LEAKS.format(imports="import pytest", decorator="@pytest.mark.trio", test=ASYNC_LEAKS),
        "hours": SLEEPS.format(
            imports="import pytest",
            decorator="@pytest.mark.trio",
            test=ASYNC_SLEEPS.format(arguments="autojump_clock"),
        ),
        "given": GIVEN.format(imports="import pytest", decorator="@pytest.mark.trio", test=ASYNC_GIVEN),
    },
)
HYPOTHESIS = Plugin(
    ("-p", "no:asyncio", "-p", "no:trio", "-p", "no:anyio", "-p", "no:asyncgen_tools", "-W", "error"),
    {"given": GIVEN.format(imports="", decorator="", test=ASYNC_GIVEN)},
)

TOPIC = Topic(
    title="Tests of async generators",
    about="pytest is run on a small file; every warning is an error.",
    contenders={
        "asyncgen_tools: its plugin and kit": OURS,
        "pytest-asyncio: asyncio marker": PYTEST_ASYNCIO,
        "anyio: its plugin": ANYIO,
        "pytest-trio: trio marker": PYTEST_TRIO,
        "hypothesis: given alone": HYPOTHESIS,
    },
    questions={
        "one test on asyncio and trio": on_both,
        "a leaked generator fails its test": finds_leaks,
        "hours of sleep in virtual time": skips_time,
        "with `@given`": drives_in_given,
        "cancelled at every `await`": sweeps,
    },
)
