"""docs/speed.md is made of its figures, and a page or plot that is not is found."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, results
from benchmarks.charts import BarChart, charts

CHECKOUT = Path(__file__).parent.parent
SPEED = CHECKOUT / "docs/speed.md"


@pytest.fixture
def speed_copy(tmp_path: Path) -> Path:
    """The speed page with its figures and plots, in another place."""
    shutil.copytree(page.folder(SPEED), tmp_path / "speed")
    return Path(shutil.copy(SPEED, tmp_path))


def double_first(figures: dict[str, Any]) -> None:
    """Double the first number in the figures."""
    key, value = next(iter(figures.items()))
    if isinstance(value, float):
        figures[key] = 2 * value
    else:
        double_first(value)


def test_speed_page_says_what_was_measured() -> None:
    """Tables and plots of the speed page are made of the figures beside it, and of nothing else."""
    assert page.stale(SPEED) == []
    plots = {file.name for file in page.folder(SPEED).glob("*.svg")}
    assert plots == {page.picture(SPEED, chart).name for chart in charts(results.load(page.results_file(SPEED)))}


def test_speed_page_shows_every_part() -> None:
    """Each part of the benchmarks was measured on each Python of the speed page."""
    found = results.load(page.results_file(SPEED))
    assert found
    assert [[*result["figures"]] for result in found.values()] == [[*results.PARTS]] * len(found)


@pytest.mark.parametrize("part", ["items", "portal", "bridges", "concurrency", "delegation"])
def test_stale_figures_are_seen(speed_copy: Path, part: str) -> None:
    """If a figure is not the one that was drawn and written, the page and a plot of it are found to be stale."""
    file = page.results_file(speed_copy)
    found = results.load(file)
    newest = next(iter(found.values()))
    double_first(newest["figures"][part])
    results.save(file, found)
    assert {path.suffix for path in page.stale(speed_copy)} == {".md", ".svg"}


def test_missing_plot_is_seen(speed_copy: Path) -> None:
    """A plot that is not there is stale, and so is a page that somebody has edited between its marks."""
    gone = page.folder(speed_copy) / "delegation.svg"
    gone.unlink()
    speed_copy.write_text(speed_copy.read_text(encoding="utf-8").replace("| yes ", "| Yes ", 1), encoding="utf-8")
    assert page.stale(speed_copy) == [speed_copy, gone]


def test_a_second_python_keeps_the_first(speed_copy: Path) -> None:
    """Figures of another Python stand below those of the newest, with the goals of their own."""
    file = page.results_file(speed_copy)
    newest = next(iter(results.load(file).values()))
    results.save(file, {"3.11": newest, "3.13": newest})
    text = page.rendered(speed_copy, results.load(file))
    newer, older = text.partition("## CPython 3.13\n")[2].split("## CPython 3.11\n")
    goal = r"asyncio, no suspension: `drive` to `async for` +\| ≤\s(\d)\s×"
    assert [re.findall(goal, part) for part in (newer, older)] == [["4"], ["8"]]
    drawn = [chart for chart in charts(results.load(file)) if isinstance(chart, BarChart)]
    assert {chart.pythons for chart in drawn} == {("3.13", "3.11")}


@pytest.mark.timeout(180)  # matplotlib reads all fonts at its first use
def test_plots_are_drawn_alike(speed_copy: Path) -> None:
    """The command draws the plots that are checked in, byte by byte."""
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: tox -e docs has it")
    pinned = re.search(r'picture = \["matplotlib==([\d.]+)"\]', (CHECKOUT / "pyproject.toml").read_text("utf-8"))
    assert pinned
    if matplotlib.__version__ != pinned[1]:
        pytest.skip("another version of matplotlib draws other bytes")
    page.write(speed_copy)
    drawn = {file.name: file.read_bytes() for file in page.folder(speed_copy).glob("*.svg")}
    assert drawn == {file.name: file.read_bytes() for file in page.folder(SPEED).glob("*.svg")}


def test_one_command_makes_the_speed_page() -> None:
    """The command on the speed page is tox's, which has what the plots need and hands on what is asked for."""
    command = "tox -e benchmarks -- --write docs/speed.md\n"
    assert f"```sh\n{command}" in SPEED.read_text(encoding="utf-8")
    environment = (CHECKOUT / "tox.ini").read_text(encoding="utf-8").partition("[testenv:benchmarks]")[2]
    assert "dependency_groups = picture\n" in environment
    assert "python -m benchmarks {posargs}\n" in environment
