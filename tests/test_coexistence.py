"""The pytest plugin beside those that run async tests: twelve kinds of test, ten configurations.

Each configuration is one run of pytest in a process of its own, over every kind that can run there. Each kind has a
twin that leaks an async generator, and must fail by that and by nothing else; so a green run shows that our plugin
neither disturbs a test nor overlooks one.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each is a whole run of pytest, with half a dozen plugins to import.
pytestmark = pytest.mark.timeout(240)

DEFINITION: Final = r"^(?:async )?def (test_\w+)|^    async def (test_\w+)"
OUTCOME: Final = r"::(test_\w+)\S* ([A-Z]+)\b|\b(PASSED|XFAIL) \S+::(test_\w+)"  # the latter with xdist
CHECKOUT: Final = Path(__file__).parent.parent
#: The distributions, and the names by which pytest takes their plugins out.
PLUGINS: Final = {"pytest-asyncio": "asyncio", "anyio": "anyio", "pytest-trio": "trio", "pytest-xdist": "xdist"}

PRELUDE: Final = """
import unittest
from contextlib import aclosing
import anyio, pytest, trio.testing
from asyncgen_tools.loops.admission import running_library as sniffed
from hypothesis import Phase, given, settings, strategies
from asyncgen_tools.errors import LeakError

leaks = pytest.mark.xfail(raises=LeakError, strict=True)
# pytest-trio runs a test in a nursery, which makes a group of whatever it raises.
leaks_grouped = pytest.mark.xfail(raises=pytest.RaisesGroup(LeakError), strict=True)
some = given(number=strategies.integers())
# To shrink and explain a failure, hypothesis would run it a hundred times.
few = settings(max_examples=3, deadline=None, database=None, phases=[Phase.generate])

kept = []

async def numbers():
    yield 1
    yield 2

async def work():
    assert [item async for item in numbers()] == [1, 2]
    await anyio.sleep(0)

async def leak():
    await work()
    async for _ in numbers():
        break

async def careless():
    await leak()
    yield 1
"""

#: Each kind of test: what it needs, and its code.
KINDS: Final[Mapping[str, tuple[set[str], str]]] = {
    "sync with a backend": (
        set(),
        """
def test_backend(asyncgen_backend):
    assert list(asyncgen_backend.drive(numbers())) == [1, 2]

@leaks
@pytest.mark.asyncgen_backends("asyncio", "trio")
def test_backend_leaks(asyncgen_backend):
    asyncgen_backend.run(leak)
""",
    ),
    "sync with a driver": (
        set(),
        """
async def day():
    await anyio.sleep(24 * 3600)
    yield anyio.current_time()

@pytest.mark.asyncgen_backends("asyncio", "trio")
def test_driver(asyncgen_driver):
    assert next(asyncgen_driver(day(), virtual_time=True)) == 24 * 3600

@leaks
@pytest.mark.asyncgen_backends("asyncio", "trio")
def test_driver_leaks(asyncgen_driver):
    next(asyncgen_driver(careless()))
""",
    ),
    "sync with finalization": (
        set(),
        """
def test_finalization(asyncgen_driver, finalization):
    for order in finalization.orders():
        begun = [asyncgen_driver(numbers()) for _ in range(2)]
        assert [next(generator) for generator in begun] == [1, 1]
        finalization.close(order)
""",
    ),
    "sync @given with a backend": (
        set(),
        """
@few
@some
def test_given(asyncgen_backend, number):
    async def source():
        yield number
        await asyncgen_backend.checkpoint()
    assert list(asyncgen_backend.drive(source())) == [number]

@leaks
@few
@some
@pytest.mark.asyncgen_backends("asyncio", "trio")
def test_given_leaks(asyncgen_backend, number):
    asyncgen_backend.run(leak)
""",
    ),
    "unittest": (
        set(),
        """
class TestUnittest(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        await work()

    async def test_cleanup(self):
        if sniffed() == "asyncio":  # pytest-trio ends what is left of unittest's loop otherwise
            await self.enterAsyncContext(aclosing(numbers()))

    @pytest.mark.xfail(raises=(LeakError, ExceptionGroup), strict=True)
    async def test_end_closes(self):
        kept.append(numbers())
        await anext(kept[-1])

    @pytest.mark.xfail(raises=(LeakError, ExceptionGroup), strict=True)  # with trio_mode, pytest-trio runs it
    async def test_leaks(self):
        await leak()
""",
    ),
    "@asyncio": (
        {"pytest-asyncio"},
        """
@pytest.mark.asyncio
async def test_asyncio():
    await work()

@pytest.mark.asyncio
class TestAsyncio:
    @leaks
    async def test_leaks(self):
        await leak()
""",
    ),
    "@asyncio with async fixtures": (
        {"pytest-asyncio"},
        """
import asyncio, pytest_asyncio

@pytest_asyncio.fixture
async def stream():
    generator = numbers()
    await anext(generator)
    yield generator
    await generator.aclose()

@pytest.mark.asyncio
async def test_asyncio_fixture(stream):
    assert await anext(stream) == 2

@leaks
@pytest.mark.asyncio
async def test_asyncio_fixture_leaks(stream):
    await leak()
""",
    ),
    "@asyncio @given": (
        {"pytest-asyncio"},
        """
@few
@some
@pytest.mark.asyncio
async def test_asyncio_given(number):
    await work()

@leaks
@few
@some
@pytest.mark.asyncio
async def test_asyncio_given_leaks(number):
    await leak()
""",
    ),
    "@anyio": (
        {"anyio"},
        """
@pytest.mark.anyio
async def test_anyio(anyio_backend):
    await work()

@leaks
@pytest.mark.anyio
async def test_anyio_leaks(anyio_backend):
    await leak()
""",
    ),
    "@anyio with async fixtures, @given": (
        {"anyio"},
        """
@pytest.fixture
async def anyio_stream(anyio_backend):
    generator = numbers()
    await anext(generator)
    yield generator
    await generator.aclose()

@pytest.mark.anyio
async def test_anyio_fixture(anyio_stream):
    assert await anext(anyio_stream) == 2

@few
@some
@pytest.mark.anyio
async def test_anyio_given(anyio_backend, number):
    await work()

@leaks
@few
@some
@pytest.mark.anyio
async def test_anyio_given_leaks(anyio_backend, number):
    await leak()
""",
    ),
    "@trio": (
        {"pytest-trio"},
        """
@pytest.mark.trio
async def test_trio(nursery, autojump_clock):
    nursery.start_soon(anyio.sleep, 1000)
    await work()

@leaks_grouped
@pytest.mark.trio
async def test_trio_leaks():
    await leak()

async def watch():
    async with aclosing(numbers()) as generator:
        async for _ in generator:
            await anyio.sleep_forever()

@pytest.mark.trio
async def test_trio_nursery_closes(nursery):
    nursery.start_soon(watch)
    await trio.testing.wait_all_tasks_blocked()

@leaks
@pytest.mark.trio
async def test_trio_end_closes(nursery):
    nursery.start_soon(watch)
    kept.append(numbers())
    await anext(kept[-1])
""",
    ),
    "@trio @given": (
        {"pytest-trio"},
        """
@few
@some
@pytest.mark.trio
async def test_trio_given(number):
    await work()

@leaks_grouped
@few
@some
@pytest.mark.trio
async def test_trio_given_leaks(number):
    await leak()
""",
    ),
}
UNMARKED: Final = """
async def test_unmarked():
    await work()

@{}
async def test_unmarked_leaks():
    await leak()
"""


@final
@dataclass(frozen=True, slots=True)
class Configuration:
    """Which plugins are there, and how they are set."""

    plugins: set[str]
    ini: str = ""
    arguments: tuple[str, ...] = ()
    unmarked: str | None = None  # which marker the leaking twin of an unmarked async test has
    mismatches: bool = False
    without: frozenset[str] = frozenset()  # kinds that fail there without our plugin, too


#: With asyncio_mode=auto, pytest-asyncio takes the tests of pytest-trio for its own, and fails on what that gives it.
TRIO_KINDS: Final = frozenset({"@trio", "@trio @given"})
ALL: Final = {"pytest-asyncio", "anyio", "pytest-trio"}
CONFIGURATIONS: Final = {
    "asyncio strict": Configuration({"pytest-asyncio"}, "asyncio_mode = strict"),
    "asyncio auto": Configuration({"pytest-asyncio"}, "asyncio_mode = auto", unmarked="leaks"),
    "anyio strict": Configuration({"anyio"}),
    "anyio auto": Configuration({"anyio"}, "anyio_mode = auto", unmarked="leaks"),
    "trio_mode off": Configuration({"pytest-trio"}),
    "trio_mode on": Configuration({"pytest-trio"}, "trio_mode = true", unmarked="leaks_grouped"),
    "all strict": Configuration(ALL, "asyncio_mode = strict"),
    "all, asyncio auto": Configuration(
        ALL, "asyncio_mode = auto", unmarked="leaks", mismatches=True, without=TRIO_KINDS
    ),
    "all, both auto": Configuration(
        ALL,
        "asyncio_mode = auto\nanyio_mode = auto",
        unmarked="leaks",
        mismatches=True,
        # anyio parametrises every async test there, and a fixture of pytest-asyncio meets trio.
        without=TRIO_KINDS | {"@asyncio with async fixtures"},
    ),
    "all strict, xdist": Configuration({*ALL, "pytest-xdist"}, "asyncio_mode = strict", ("-n2",)),
}


def installed(distribution: str) -> bool:
    """Whether a distribution is here."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def run_pytest(folder: Path, configuration: Configuration, code: str) -> subprocess.CompletedProcess[str]:
    """Run pytest over one file of tests, in a process and under a configuration of its own."""
    (folder / "test_kinds.py").write_text(PRELUDE + code, encoding="utf-8")
    ini = f"[pytest]\nasyncgen_leaks = error\nasyncgen_backends = asyncio trio bare\n{configuration.ini}\n"
    if "pytest-asyncio" in configuration.plugins:
        ini += "asyncio_default_fixture_loop_scope = function\n"
    (folder / "pytest.ini").write_text(ini, encoding="utf-8")
    ours = (
        []
        if importlib.metadata.entry_points(group="pytest11", name="asyncgen_tools")
        else ["asyncgen_tools.pytest_plugin"]
    )
    without = [f"no:{name}" for plugin, name in PLUGINS.items() if plugin not in configuration.plugins]
    options = [part for name in [*ours, *without, "no:randomly", "no:cacheprovider"] for part in ("-p", name)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(CHECKOUT)
    # Half of the time of a run is that of compiling what it imports, unless an earlier run has.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(folder.parent / "compiled")
    options += ["-v", "--tb=native", "--strict-markers", *configuration.arguments]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_kinds.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_kind(tmp_path: Path, name: str) -> None:
    """Every kind of test passes, and its leaking twin fails by the leak, in each configuration."""
    configuration = CONFIGURATIONS[name]
    for distribution in sorted(configuration.plugins | {"hypothesis", "trio"}):
        if not installed(distribution):
            pytest.skip(f"{distribution} is not installed")
    kinds = [
        code
        for kind, (needs, code) in KINDS.items()
        if needs <= configuration.plugins and kind not in configuration.without
    ]
    if configuration.unmarked is not None:
        kinds.append(UNMARKED.format(configuration.unmarked))
    completed = run_pytest(tmp_path, configuration, "".join(kinds))
    assert completed.returncode == 0, completed.stdout + completed.stderr
    written = {first or second for first, second in re.findall(DEFINITION, "".join(kinds), re.MULTILINE)}
    ran: list[Any] = re.findall(OUTCOME, completed.stdout)
    outcomes = {first or second for _, first, second, _ in ran}
    assert {first or last for first, _, _, last in ran} == written
    assert outcomes == {"PASSED", "XFAIL"}
    warned = "BackendMismatchWarning" in completed.stdout
    assert warned is configuration.mismatches, completed.stdout
