"""The pytest plugin: its fixtures, markers, settings and reports, by pytester in this process."""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.util
import pkgutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asyncgen_tools
from tests.children import run_child

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ("pytester",)
# The tests in the tests leak on purpose, in this process.
pytestmark = pytest.mark.asyncgen_leaks("off")

NEEDS_TRIO = pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="trio is not installed")

#: What each file of tests begins with.
PRELUDE = """
import pytest
kept = []
async def numbers():
    yield 1
    yield 2
async def drop():
    async for _ in numbers():
        break
async def keep():
    kept.append(numbers())
    await anext(kept[-1])
"""


@pytest.fixture(scope="module", autouse=True)
def everything_imported() -> None:
    """Import what a run may import: pytester forgets what is first imported inside, and a second copy would follow."""
    ours = [module.name for module in pkgutil.walk_packages(asyncgen_tools.__path__, "asyncgen_tools.")]
    theirs = ["anyio._backends._asyncio", "anyio._backends._trio", "trio.testing", "uvloop"]
    for name in [*ours, *theirs]:
        if not name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(name)


@pytest.fixture(name="run")
def run_fixture(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run a file of tests with our plugin and no other, in this process."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(code: str, *arguments: str, ini: str = "") -> pytest.RunResult:
        pytester.makepyfile(PRELUDE + code)
        pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n" + ini)
        result = pytester.runpytest_inprocess("-p", "asyncgen_tools.pytest_plugin", "-Wdefault", *arguments)
        gc.collect()  # the tracebacks of failures hold generators, which belong to this thread
        return result

    return run


BACKENDS_TEST = """
def test_it(asyncgen_backend):
    assert list(asyncgen_backend.drive(numbers())) == [1, 2]
"""


@NEEDS_TRIO
def test_backend_is_parametrised(run: Any) -> None:
    """`asyncgen_backend` runs a test on asyncio, trio and bare, under these ids."""
    result = run(BACKENDS_TEST, "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"*test_it[[]{name}[]] PASSED*" for name in ("asyncio", "trio", "bare")])


def test_backend_answers(run: Any) -> None:
    """`asyncgen_backend` has what a test needs: name, options, run, runner, checkpoint."""
    result = run(
        """
def test_it(asyncgen_backend):
    async def double(number):
        await asyncgen_backend.checkpoint()
        return number * 2
    assert asyncgen_backend.name in ("asyncio", "bare")
    assert asyncgen_backend.options == {}
    assert asyncgen_backend.run(double, 4) == 8
    with asyncgen_backend.runner() as runner:
        assert list(runner.drive(numbers())) == [1, 2]
""",
        "--asyncgen-backend=asyncio",
        "--asyncgen-backend=bare",
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    "arguments, ini, ids",
    [
        (["--asyncgen-backend=bare"], "", ["bare"]),
        ([], "asyncgen_backends = asyncio bare", ["asyncio", "bare"]),
        (["--asyncgen-backend=level"], "asyncgen_backends = asyncio bare", ["level"]),
    ],
    ids=["option", "ini", "option over ini"],
)
def test_backends_are_narrowed(run: Any, arguments: list[str], ini: str, ids: list[str]) -> None:
    """The ini setting says which backends are usual; the command line says which are wanted now."""
    result = run(BACKENDS_TEST, "-v", *arguments, ini=ini)
    result.assert_outcomes(passed=len(ids))
    result.stdout.fnmatch_lines([f"*test_it[[]{name}[]] PASSED*" for name in ids])


def test_backends_marker(run: Any) -> None:
    """The marker says which backends a test is for; the command line chooses among them, and a rest of none skips."""
    code = '@pytest.mark.asyncgen_backends("level", "bare")' + BACKENDS_TEST
    result = run(code, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it[[]level[]] PASSED*", "*test_it[[]bare[]] PASSED*"])
    run(code, "--asyncgen-backend=bare").assert_outcomes(passed=1)
    result = run(code, "--asyncgen-backend=asyncio", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*this test is for level, bare, which --asyncgen-backend leaves out*"])


def test_backends_by_parametrize(run: Any) -> None:
    """A test may say itself which backends it runs on, by pytest's own marker."""
    code = '@pytest.mark.parametrize("asyncgen_backend", ["bare"], indirect=True)' + BACKENDS_TEST
    run(code).assert_outcomes(passed=1)


def test_missing_library_is_a_skip(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend whose library is not installed is skipped, and the reason names it."""
    find_spec = importlib.util.find_spec

    def without_trio(name: str, package: str | None = None) -> object:
        return None if name == "trio" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_trio)
    result = run(BACKENDS_TEST, "-rs")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*backend 'trio' needs trio, which is not installed"])


@pytest.mark.parametrize(
    "arguments, ini, where",
    [
        (["--asyncgen-backend=curio"], "", "--asyncgen-backend: There is no backend 'curio'"),
        ([], "asyncgen_backends = curio", "the ini setting asyncgen_backends: There is no backend 'curio'"),
        ([], "asyncgen_leaks = loud", "the ini setting asyncgen_leaks: there is no level 'loud'"),
        ([], "asyncgen_backend_mismatch = 1", "the ini setting asyncgen_backend_mismatch: there is no level '1'"),
    ],
    ids=["option", "backends", "leaks", "mismatch"],
)
def test_unknown_settings(run: Any, arguments: list[str], ini: str, where: str) -> None:
    """An unknown name in a setting is a usage error that says where it stands and what there is."""
    result = run(BACKENDS_TEST, *arguments, ini=ini)
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {where}*"])


@pytest.mark.parametrize(
    "marker, message",
    [
        ("asyncgen_backends", 'the marker asyncgen_backends of *test_it names no backend*Write *("asyncio", "trio")*'),
        ("asyncgen_backends()", "the marker asyncgen_backends of *test_it names no backend*"),
        ('asyncgen_backends("curio")', "the marker asyncgen_backends of *test_it: There is no backend 'curio'*"),
        (
            'asyncgen_leaks("loud")',
            "the marker asyncgen_leaks: there is no level 'loud'. Write one of: error, warn, off.",
        ),
        ("asyncgen_leaks", "the marker asyncgen_leaks: there is no level ()*"),
    ],
)
def test_unknown_marker_arguments(run: Any, marker: str, message: str) -> None:
    """An unknown name in a marker is a usage error at collection, which names the test or the marker."""
    result = run(f"@pytest.mark.{marker}{BACKENDS_TEST}")
    assert result.ret is pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*UsageError: {message}*"])


def test_asked_for_too_late(run: Any) -> None:
    """`asyncgen_backend` by getfixturevalue is an error that says to make it an argument."""
    result = run("def test_it(request):\n    request.getfixturevalue('asyncgen_backend')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Make it an argument of the test*"])


def test_driver_drives_and_closes(run: Any) -> None:
    """`asyncgen_driver` gives SyncGenerators, and closes what is open when the test ends, in its own loop."""
    result = run(
        """
from asyncgen_tools import SyncGenerator
log = []
def test_it(asyncgen_driver):
    async def cleans_up():
        try:
            yield asyncgen_driver.backend.name
        finally:
            await asyncgen_driver.backend.checkpoint()
            log.append(asyncgen_driver.backend.name)
    generator = asyncgen_driver(cleans_up())
    assert isinstance(generator, SyncGenerator)
    kept.append(generator)
    assert next(generator) == asyncgen_driver.backend.name
def test_after():
    assert log == ["asyncio", "bare"]
""",
        ini="asyncgen_backends = asyncio bare",
    )
    result.assert_outcomes(passed=3)


def test_driver_fails_on_a_failed_cleanup(run: Any) -> None:
    """What the cleanup of a driven generator raises fails the test, whether the driver closes it or the test's end."""
    result = run(
        """
async def broken_cleanup():
    try:
        yield 1
    finally:
        assert not "clean"
def test_held(asyncgen_driver):
    kept.append(asyncgen_driver(broken_cleanup()))
    assert next(kept[-1]) == 1
def test_local(asyncgen_driver):
    items = asyncgen_driver(broken_cleanup())
    assert next(items) == 1
@pytest.mark.asyncgen_leaks("off")
def test_dropped_on_purpose(asyncgen_driver):
    assert next(asyncgen_driver(broken_cleanup())) == 1
""",
        "-Wignore::pytest.PytestUnraisableExceptionWarning",
        ini="asyncgen_backends = asyncio bare",
    )
    result.assert_outcomes(failed=4, passed=2)
    result.stdout.fnmatch_lines(["*test_local*", '*assert not "clean"*', "*LeakError*", "*AssertionError: assert not*"])


@pytest.mark.parametrize("leak", ["drop", "keep"])
def test_driver_fails_on_a_leak(run: Any, leak: str) -> None:
    """A generator that a driven one leaves unfinished fails the test, whatever the ini setting says."""
    result = run(
        f"""
def test_it(asyncgen_driver):
    async def careless():
        await {leak}()
        yield 1
    assert list(asyncgen_driver(careless())) == [1]
""",
        ini="asyncgen_backends = asyncio bare",
    )
    result.assert_outcomes(failed=2)
    result.stdout.no_fnmatch_line("*pytest_runtest_call*")
    result.stdout.no_fnmatch_line("*self.errors*")
    kind = {"drop": "collected", "keep": "closed at shutdown"}[leak]
    result.stdout.fnmatch_lines(["*LeakError: 1 async generator(s) left unfinished*", f"*numbers ({kind}): first*"])


def test_driver_respects_the_marker(run: Any) -> None:
    """The marker `asyncgen_leaks` turns the driver's failure off, or into a warning."""
    code = """
@pytest.mark.asyncgen_leaks("{}")
def test_it(asyncgen_driver):
    async def careless():
        await drop()
        yield 1
    assert list(asyncgen_driver(careless())) == [1]
"""
    run(code.format("off"), "--asyncgen-backend=bare", "-Werror").assert_outcomes(passed=1)
    result = run(code.format("warn"), "--asyncgen-backend=bare")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*LeakWarning: 1 async generator(s) left unfinished*"])


def test_driver_with_virtual_time(run: Any) -> None:
    """`asyncgen_driver(source, virtual_time=True)` sleeps for hours in no time; without, time is real."""
    result = run(
        """
import anyio, time
@pytest.mark.asyncgen_backends("asyncio", "trio")
def test_it(asyncgen_driver):
    async def hours():
        while True:
            await anyio.sleep(3600)
            yield anyio.current_time()
    async def real():
        yield anyio.current_time()
        yield anyio.current_time()
    clock = asyncgen_driver(hours(), virtual_time=True)
    begun = time.monotonic()
    assert [next(clock) for _ in range(24)][-1] == 24 * 3600
    assert time.monotonic() - begun < 3600
    first, second = asyncgen_driver(real())
    assert 0 < first <= second != 0
"""
    )
    assert result.parseoutcomes()["passed"] >= 1
    assert "failed" not in result.parseoutcomes()


def test_finalization(run: Any) -> None:
    """`finalization` holds the generators of a test, and closes them in every order, each once."""
    result = run(
        """
orders = set()
def test_it(asyncgen_driver, finalization):
    async def cleans_up(name, log):
        try:
            yield name
        finally:
            await asyncgen_driver.backend.checkpoint()
            log.append(name)
    for order in finalization.orders():
        log = []
        begun = [asyncgen_driver(cleans_up(name, log)) for name in "abc"]
        assert [next(generator) for generator in begun] == ["a", "b", "c"]
        assert len(finalization.generators) == 3
        finalization.close(order)
        assert sorted(log) == ["a", "b", "c"]
        orders.add("".join(log))
    assert len(orders) == 6
""",
        ini="asyncgen_backends = asyncio bare",
    )
    result.assert_outcomes(passed=2)


def test_finalization_finds_a_wrong_task(run: Any) -> None:
    """A generator that cannot be closed from another task, as an event loop does at its end, fails the test."""
    result = run(
        """
import anyio
@pytest.mark.asyncgen_backends("asyncio")
def test_it(asyncgen_driver, finalization):
    async def holds():
        async with anyio.create_task_group():
            yield 1
    generator = asyncgen_driver(holds())
    next(generator)
    finalization.close()
"""
    )
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(["*exit cancel scope in a different task*"])


def test_failure_shows_transcripts(run: Any) -> None:
    """The report of a failure has a section with the transcript of each driven generator; a pass has none."""
    result = run(
        """
def test_fails(asyncgen_backend):
    with asyncgen_backend.drive(numbers()) as generator, asyncgen_backend.runner() as runner:
        list(runner.drive(numbers()))
        assert next(generator) == 2
def test_passes(asyncgen_backend):
    assert list(asyncgen_backend.drive(numbers())) == [1, 2]
""",
        "--asyncgen-backend=bare",
        "-rA",
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*- async generators -*",
            "*.numbers, driven from *:*",
            "  next -> yielded 1  (suspended at *.py:* in numbers)",
            "*.numbers, driven from *:*",
            "  next -> yielded 1  (suspended at *.py:* in numbers)",
            "  next -> yielded 2  (suspended at *.py:* in numbers)",
            "  next -> returned",
        ]
    )
    assert str(result.stdout).count("- async generators -") == 1


def test_failure_shows_the_last_transcripts(run: Any) -> None:
    """Of many driven generators the last five are shown, and how many went before."""
    result = run(
        """
def test_fails(asyncgen_backend):
    for _ in range(12):
        assert list(asyncgen_backend.drive(numbers())) == [1, 2]
    assert False
""",
        "--asyncgen-backend=bare",
    )
    result.stdout.fnmatch_lines(["(7 more before)"])
    assert str(result.stdout).count("numbers, driven from") == 5


@pytest.mark.parametrize("level", ["error", "warn", "off"])
@pytest.mark.parametrize("by", ["ini", "marker"])
def test_leaks_of_sync_tests(run: Any, level: str, by: str) -> None:
    """A sync test that drives is judged as an async one is, with the asyncgen hooks of its thread left alone."""
    marker = f'@pytest.mark.asyncgen_leaks("{level}")\n' if by == "marker" else ""
    result = run(
        f"""
import sys
from asyncgen_tools import Runner
{marker}def test_it():
    assert sys.get_asyncgen_hooks() == (None, None)
    with Runner(backend="bare") as runner:
        runner.run(drop)
""",
        ini=f"asyncgen_leaks = {level}" if by == "ini" else "asyncgen_leaks = error",
    )
    result.assert_outcomes(
        **{"error": {"failed": 1}, "warn": {"passed": 1, "warnings": 1}, "off": {"passed": 1}}[level]
    )


def test_a_failing_test_is_not_masked(run: Any) -> None:
    """What a test raises itself is what it fails with, also when it leaks."""
    result = run(
        """
@pytest.mark.asyncgen_leaks("error")
def test_it(asyncgen_driver):
    async def careless():
        await drop()
        yield 1
    list(asyncgen_driver(careless()))
    raise KeyError("its own")
""",
        "--asyncgen-backend=bare",
    )
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(["*KeyError: 'its own'"])
    result.stdout.no_fnmatch_line("*LeakError*")


def test_markers_are_declared(run: Any) -> None:
    """Both markers pass --strict-markers, and `pytest --markers` explains them; `--help` the option."""
    code = '@pytest.mark.asyncgen_leaks("off")\n@pytest.mark.asyncgen_backends("bare")' + BACKENDS_TEST
    run(code, "--strict-markers").assert_outcomes(passed=1)
    shown = run("", "--markers")
    shown.stdout.fnmatch_lines(["@pytest.mark.asyncgen_backends(*", "@pytest.mark.asyncgen_leaks(*"])
    shown = run("", "--help")
    shown.stdout.fnmatch_lines(["*--asyncgen-backend=NAME*"])


def test_async_tests_are_not_run(run: Any) -> None:
    """The plugin is no runner of async tests: without one of the others, pytest says what it always says."""
    result = run("async def test_it():\n    assert False")
    assert "async def functions are not natively supported" in str(result.stdout)


RUNNER = """
import asyncio, inspect
from hypothesis import given, settings, strategies as st
class Plugin:
    "Runs async tests on asyncio, whatever they ask for, where the other runners would look for them."
    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        handle = getattr(pyfuncitem.obj, "hypothesis", None)
        if handle is not None:
            inner = handle.inner_test
            handle.inner_test = lambda **given: asyncio.run(inner(**given))
            pyfuncitem.obj()
        elif inspect.iscoroutinefunction(pyfuncitem.obj):
            names = inspect.signature(pyfuncitem.obj).parameters
            asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        else:
            return None
        return True
@pytest.fixture(autouse=True, scope="session")
def runner(request):
    request.config.pluginmanager.register(Plugin())
@pytest.fixture
def anyio_backend():
    return "trio"
"""


@pytest.mark.parametrize("level", ["error", "warn", "off"])
def test_leaks_of_async_tests(run: Any, level: str) -> None:
    """An async test is watched from inside of its event loop, whoever runs it: a plain one, one of hypothesis' and one
    of unittest's.
    """
    result = run(
        RUNNER
        + """
import unittest
async def test_plain():
    await drop()
@settings(max_examples=1, database=None)
@given(st.just(1))
async def test_given(number):
    await drop()
class TestCase(unittest.IsolatedAsyncioTestCase):
    async def test_method(self):
        await drop()
""",
        ini=f"asyncgen_leaks = {level}",
    )
    outcomes = {"error": {"failed": 3}, "warn": {"passed": 3, "warnings": 3}, "off": {"passed": 3}}[level]
    assert result.parseoutcomes() == outcomes


CLEANUPS = """
import contextlib, unittest
class TestCase(unittest.IsolatedAsyncioTestCase):
    @contextlib.asynccontextmanager
    async def connect(self):
        yield "connection"
    async def begin(self):
        kept.append(numbers())
        await anext(kept[-1])
        return kept[-1]
    async def test_entered(self):
        self.assertEqual(await self.enterAsyncContext(self.connect()), "connection")
    async def test_added(self):
        async def close():
            await generator.aclose()
        generator = await self.begin()
        self.addAsyncCleanup(close)
    async def asyncTearDown(self):
        if self.id().endswith("torn_down"):
            await kept[-1].aclose()
    async def test_torn_down(self):
        await self.begin()
    async def test_never(self):
        await self.begin()
    async def test_dropped_by_cleanup(self):
        self.addCleanup(kept.remove, await self.begin())
    async def test_fails_itself(self):
        await self.begin()
        self.fail("by itself")
"""


@pytest.mark.parametrize("level", ["error", "warn"])
def test_cleanup_of_unittest(run: Any, level: str) -> None:
    """What the cleanup of a unittest closes is no leak; what its loop's end closes or its cleanup drops is one."""
    result = run(CLEANUPS, "-rA", ini=f"asyncgen_leaks = {level}")
    outcomes = {"error": {"passed": 3, "failed": 3}, "warn": {"passed": 5, "failed": 1, "warnings": 2}}
    assert result.parseoutcomes() == outcomes[level]
    result.stdout.fnmatch_lines_random(["*numbers (closed at shutdown): first*", "*numbers (collected): first*"])
    assert str(result.stdout).count("by itself") >= 1
    result.stdout.no_fnmatch_line("*(suspended)*")


def test_leaks_are_placed_in_the_test(run: Any) -> None:
    """What `enterAsyncContext` begins is placed at the line that calls it, not in unittest."""
    result = run(
        """
import contextlib, unittest
class TestCase(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        await self.enterAsyncContext(contextlib.asynccontextmanager(numbers)())
        self._cleanups.clear()
""",
        ini="asyncgen_leaks = error",
    )
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.fnmatch_lines(["*numbers (collected): first iterated at *.py:* in TestCase.test_it, *"])


@pytest.mark.parametrize("level", ["error", "warn", "off"])
def test_backend_mismatch(run: Any, level: str) -> None:
    """A test that asks for anyio's trio and runs on asyncio proves nothing; what runs on what it asks for passes."""
    result = run(
        RUNNER
        + """
async def test_mismatch(anyio_backend):
    pass
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})])
async def test_match(anyio_backend):
    pass
""",
        ini=f"asyncgen_backend_mismatch = {level}",
    )
    outcomes = {"error": {"failed": 1, "passed": 1}, "warn": {"passed": 2, "warnings": 1}, "off": {"passed": 2}}[level]
    assert result.parseoutcomes() == outcomes


def test_start_up_loads_next_to_nothing() -> None:
    """Importing the plugin loads no event loop, no testing library but pytest, and nothing else of the package."""
    child = run_child(
        """
        import sys, pytest
        before = set(sys.modules)
        import asyncgen_tools.pytest_plugin
        print(*sorted(set(sys.modules) - before))
        """
    )
    loaded = child.out[0].split()
    assert {name.partition(".")[0] for name in loaded} & {"trio", "hypothesis", "anyio", "asyncio"} == set()
    assert [name for name in loaded if "asyncgen" in name] == ["asyncgen_tools", "asyncgen_tools.pytest_plugin"]


def test_a_run_loads_next_to_nothing(tmp_path: Path) -> None:
    """A whole run of tests that do not use it loads none of them either, with our plugin and no other."""
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    child = run_child(
        f"""
        import os, sys
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        import pytest
        status = pytest.main(
            ["-p", "asyncgen_tools.pytest_plugin", "-p", "no:cacheprovider", "--rootdir={tmp_path}", {str(tmp_path)!r}]
        )
        print(int(status), "asyncgen_tools.pytest_plugin" in sys.modules)
        print(*(n for n in ("trio", "hypothesis", "anyio", "asyncio", "asyncgen_tools.testing") if n in sys.modules))
        """
    )
    assert child.out[-2:] == ["0 True", ""]


@pytest.mark.parametrize("path", sorted(Path(asyncgen_tools.__path__[0]).rglob("*.py")), ids=lambda path: path.stem)
def test_modules_are_not_rewritten(path: Path) -> None:
    """Pytest rewrites every module of a distribution with a plugin; all opt out of that."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert "PYTEST_DONT_REWRITE" in docstring
