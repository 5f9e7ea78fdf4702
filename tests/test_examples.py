"""The examples of README.md and docs/ run, and print what they say they print."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.pages import BLOCK, CHECKOUT, PAGES, README, SHOWN, TEST_MODULE, found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HOW_TO = [page for page in PAGES if page.parent.name == "how-to"]


def missing(code: str) -> Iterator[str]:
    """What a block needs that is not here: libraries that it imports, variables that it reads from its environment."""
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            library = name.partition(".")[0]
            if importlib.util.find_spec(library) is None:
                yield f"{library} is not installed"
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            variable = ast.literal_eval(node.slice)
            if variable not in os.environ:
                yield f"{variable} is not set: see tests/mariadb_server.py"


def blocks(pattern: re.Pattern[str], pages: Iterable[Path]) -> Iterator[Any]:
    """The matches in the pages, as parameters of a test, skipped where the machine lacks what the code needs."""
    for page in pages:
        for line, groups in found(pattern, page):
            lacking = ", ".join(sorted({*missing(groups["code"])})) if pattern is BLOCK else ""
            skip = pytest.mark.skipif(bool(lacking), reason=lacking)
            yield pytest.param(groups, id=f"{page.name}:{line}", marks=skip)


def run(*arguments: str) -> str:
    """What a Python script prints, run in a fresh interpreter in which every warning is an error."""
    command = [sys.executable, "-W", "error", *arguments]
    completed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=50)
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    return completed.stdout


def needs(library: str) -> pytest.MarkDecorator:
    """Skip where `library` is not installed."""
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed")


@pytest.mark.parametrize("block", [*blocks(BLOCK, PAGES)])
def test_blocks_run(block: dict[str, Any]) -> None:
    """Each block of Python in the pages runs as it stands, and prints the block of text that follows it, if any."""
    printed = run("-c", block["code"])
    assert block["output"] is None or printed == block["output"]


@pytest.mark.parametrize("block", [*blocks(SHOWN, HOW_TO)])
def test_shown_blocks_are_python(block: dict[str, Any]) -> None:
    """A block of the how-to pages that is only shown compiles, and a comment above it gives the reason."""
    assert block["reason"], "write <!-- only shown: why it does not run --> above ```py, or make it run as ```python"
    if block["reason"] == "it needs Python 3.16" and sys.version_info < (3, 16):
        pytest.skip("the syntax of PEP 828 is Python 3.16's")
    compile(block["code"], "<block>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@needs("pytest_asyncio")
@pytest.mark.parametrize("page", [page for page in PAGES if TEST_MODULE.search(page.read_text(encoding="utf-8"))])
def test_test_modules_pass(page: Path, tmp_path: Path) -> None:
    """Each block that is a test module passes under pytest, with pytest-asyncio, every warning an error."""
    for number, match in enumerate(TEST_MODULE.finditer(page.read_text(encoding="utf-8"))):
        module = tmp_path / f"test_{number}.py"
        module.write_text(match["code"], encoding="utf-8")
        options = ["-p", "no:randomly", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)]
        printed = run("-m", "pytest", *options, "-o", "asyncio_default_fixture_loop_scope=function", str(module))
        assert re.search(r"^=+ \d+ passed", printed, re.MULTILINE), printed


@pytest.mark.parametrize("block", [block for block in blocks(BLOCK, PAGES) if "\ndef test_" in block.values[0]["code"]])
def test_blocks_of_tests_pass(block: dict[str, Any], tmp_path: Path) -> None:
    """Each block that defines tests passes under pytest, with our plugin and no other."""
    (tmp_path / "test_block.py").write_text(block["code"], encoding="utf-8")
    options = ["-p", "asyncgen_tools.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers", "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        printed = run("-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path))
    assert re.search(r"^\d+ passed", printed, re.MULTILINE)
    assert block["output"] is None


def test_readme_has_a_complete_example_early() -> None:
    """Before line 30 of the README there is an example that runs, with its output."""
    match = BLOCK.search("\n".join(README.read_text(encoding="utf-8").splitlines()[:29]) + "\n")
    assert match is not None
    assert match["output"]


@needs("aiosqlite")
def test_sqlite_rows() -> None:
    """The example sums every row, leaves the second query early, finds the connection usable, and says its ratio."""
    printed = run("docs/examples/sqlite_rows.py", "--rows", "3000", "--rounds", "1")
    totals = [
        int(total.replace(",", ""))
        for total in re.findall(r"^ *(?:north|east|south|west) +([\d,]+)$", printed, re.MULTILINE)
    ]
    assert len(totals) == 4
    assert 3000 <= sum(totals) < 3000 * 1000
    assert re.search(
        r"^left the second query at order \d+; the connection still answers: 3,000 orders$", printed, re.MULTILINE
    )
    assert re.search(r"^3,000 rows in [\d.]+ s; async for: [\d.]+ s; ratio [\d.]+$", printed, re.MULTILINE)


@needs("httpx")
def test_llm_tokens() -> None:
    """The example prints an answer, leaves an endless one early, asks again, and its model stops."""
    printed = run("docs/examples/llm_tokens.py", "--delay", "0")
    assert printed.startswith("An async generator yields what arrives. A loop takes it.\nfirst token after ")
    assert "left an endless answer after 'An async generator yields what arrives.'\n" in printed
    assert "the same client asked again: ['An', ' async', ' generator']\n" in printed
    assert printed.endswith("the model has stopped, because its client went away\n")


@needs("trio")
def test_trio_lines() -> None:
    """The example counts every line, leaves the second loop early, and its server then sees the client go away."""
    printed = run("docs/examples/trio_lines.py", "--lines", "600")
    assert "DEBUG: 100, ERROR: 100, INFO: 300, WARNING: 100\n600 lines in " in printed
    assert "first error: 'ERROR request 5'; left the loop there\n" in printed
    assert printed.endswith("the server has stopped, because its client went away\n")
