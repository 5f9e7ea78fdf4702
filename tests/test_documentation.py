"""The pages of docs/ are complete: the reference has every public name, and the comparison our true answers."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import asyncgen_tools
from asyncgen_tools import __main__ as command_line, pytest_plugin, testing
from asyncgen_tools.loops.observers import GeneratorWatcher
from benchmarks.comparison.__main__ import TOPICS
from benchmarks.comparison.asking import answer

DOCS = Path(__file__).parent.parent / "docs"
REFERENCE = {page.stem: page.read_text(encoding="utf-8") for page in DOCS.glob("reference/*.md")}
INVENTORY = DOCS / "_build/objects.inv"
# What the plugin and the parts of the kit call on one another.
FOR_TOOLS = {
    "Backend.given",
    "TrackedDriver.runner_of",
    "Transcript.add",
    *(
        f"{name}.{hook}"
        for name in ("LeakTracker", "Finalization")
        for hook in vars(GeneratorWatcher)
        if hook[0] != "_"
    ),
}
OURS = [
    (topic, question, contender)
    for topic in TOPICS
    if topic != "testing"  # runs pytest: tests/test_pytest_plugin.py has its own ways
    for contender in TOPICS[topic].contenders
    if contender.startswith("asyncgen_tools:")
    for question in TOPICS[topic].questions
]


def documented(module: str) -> set[str]:
    """The names for which a page of the reference has a directive, below a `currentmodule` of this name."""
    names: set[str] = set()
    for page in REFERENCE.values():
        for current, body in re.findall(r"currentmodule:: (\S+)\n(.*?)(?=\n\.\. currentmodule|\Z)", page, re.DOTALL):
            if current == module:
                names |= set(re.findall(r"(?:auto|py:)(?:function|class|exception|data):: (\w+)(?![\w.])", body))
    return names


@pytest.mark.parametrize("module", [asyncgen_tools, testing], ids=lambda module: str(module.__name__))
def test_reference_has_every_name(module: object) -> None:
    """Each name of the front door and of the testing kit has its place in the reference."""
    assert documented(vars(module)["__name__"]) == set(vars(module)["__all__"])


@pytest.mark.parametrize("module", ["errors", "protocols", "steps"])
def test_reference_has_whole_modules(module: str) -> None:
    """The modules in which everything is public are documented as a whole."""
    assert any(f"automodule:: asyncgen_tools.{module}\n" in page for page in REFERENCE.values())


def test_reference_has_the_strategies() -> None:
    """Each strategy has its place in the reference."""
    strategies = pytest.importorskip(
        "asyncgen_tools.strategies", reason="hypothesis is not installed", exc_type=ImportError
    )
    assert documented("asyncgen_tools.strategies") == set(strategies.__all__)


@pytest.mark.skipif(not INVENTORY.is_file(), reason="the pages are not built: tox -e docs builds them")
@pytest.mark.parametrize("name", ["", ".testing", ".strategies", ".errors", ".protocols", ".steps", ".pytest_plugin"])
def test_reference_has_every_member(name: str) -> None:
    """Each public method, property and field of each public class is on the built pages, but for what tools call."""
    sphinx = pytest.importorskip("sphinx.util.inventory", reason="sphinx is not installed: tox -e docs has it")
    inventory = sphinx.InventoryFile.loads(INVENTORY.read_bytes(), uri="")
    built = {name for kind in inventory.data.values() for name in kind}
    module = importlib.import_module(f"asyncgen_tools{name}")
    classes = [(public, value) for public in module.__all__ if inspect.isclass(value := getattr(module, public))]
    missing = {
        f"{public}.{member}"
        for public, value in classes
        for member in {**vars(value), **inspect.get_annotations(value)}
        if not member.startswith("_") and f"{value.__qualname__}.{member}" not in FOR_TOOLS
        if not built & {f"{module.__name__}.{public}.{member}", f"{value.__module__}.{public}.{member}"}
    }
    assert missing == set()


def test_reference_of_the_plugin_is_complete() -> None:
    """Each fixture, marker, ini setting, option and warning of the pytest plugin is on its page."""
    source, page = inspect.getsource(pytest_plugin), REFERENCE["pytest-plugin"]
    settings = re.findall(r'addini\(\s*"(\w+)"', source)
    options = re.findall(r'addoption\(\s*"([\w-]+)"', source)
    markers = re.findall(r"\"markers\",\s*['\"](\w+)\(", source)
    assert [len(settings), len(options), len(markers)] == [3, 1, 2]
    assert [name for name in (*pytest_plugin.__all__, *settings, *options, *markers) if name not in page] == []


def test_reference_of_the_command_line_is_complete() -> None:
    """Each option of the command line is on its page."""
    options = re.findall(r'add_argument\("(--\w+)"', inspect.getsource(command_line))
    assert len(options) == 5
    assert [option for option in options if f"`{option}" not in REFERENCE["command-line"]] == []


@pytest.mark.parametrize("cell", OURS, ids=": ".join)
def test_comparison_has_our_answers(cell: tuple[str, str, str]) -> None:
    """What the comparison says of this library is what its scripts find; the other libraries are asked by tox."""
    topic, question, contender = cell
    if "trio" in question and importlib.util.find_spec("trio") is None:
        pytest.skip("trio is not installed")
    page = (DOCS / "comparison.md").read_text(encoding="utf-8")
    table = page.partition(f"### {TOPICS[topic].title}\n")[2].partition("\n### ")[0]
    headings, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line]
    row = next(row for row in rows if row[0] == contender)
    assert row[headings.index(question)] == answer(TOPICS[topic], question, contender)


@pytest.mark.parametrize(
    "guide", [page for page in DOCS.glob("how-to/*.md") if page.stem != "index"], ids=lambda page: page.stem
)
def test_guides_have_one_order(guide: Path) -> None:
    """A how-to guide has the wish and an example first, then why, and in the end what can go wrong and what is near."""
    text = guide.read_text(encoding="utf-8")
    title, *headings = re.findall(
        r"^##? (.+)$", re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    assert title.startswith("How to ")
    assert headings[-2:] == ["What can go wrong", "See also"]
    assert "Why" in headings
    assert text.index("\n```") < text.index("\n## ")
    wish = title.removeprefix("How to ")
    index = (DOCS / "how-to/index.md").read_text(encoding="utf-8")
    assert f"* [{wish[0].upper()}{wish[1:]}]({guide.name})\n" in index
