"""docs/speed.md, between its marks: the plots, and a section for each Python; made of the results alone.

The results are docs/speed/figures.json, and the plots are beside them: a page's folder has its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from benchmarks.charts import charts
from benchmarks.results import load, tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.charts import Chart
    from benchmarks.results import Result

BEGIN: Final = "<!-- figures -->\n"
END: Final = "<!-- end of figures -->\n"


def folder(page: Path) -> Path:
    """Where the results and plots of a page are."""
    return page.with_suffix("")


def results_file(page: Path) -> Path:
    """The results of a page."""
    return folder(page) / "figures.json"


def picture(page: Path, chart: Chart) -> Path:
    """The plot of a chart."""
    return folder(page) / f"{chart.name}.svg"


def section(python: str, result: Result) -> str:
    """What a page says of one Python."""
    effort = result["effort"]
    part = "" if effort["part"] == 1 else f" Counts are {effort['part']:g} of the full ones."
    how = f"Best of {effort['rounds']} rounds of {effort['seconds']:g} s for each contender.{part}"
    parts = [f"## CPython {python}", "", f"{result['machine']}. {how}", "", *map(str, tables(result, python))]
    return "\n".join(parts)


def rendered(page: Path, results: Mapping[str, Result]) -> str:
    """The text of the page with these results in it."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for figures: write {BEGIN.strip()} and {END.strip()} around it")
    plots = [f"![{chart.title}]({folder(page).name}/{chart.name}.svg)\n" for chart in charts(results)]
    sections = [section(python, result) for python, result in results.items()]
    return "\n".join([f"{before}{BEGIN}", "## Plots", "", *plots, *sections, f"{END}{after}"])


def write(page: Path) -> None:
    """Bring the page and its plots up to date with its results."""
    from benchmarks.plots import draw

    results = load(results_file(page))
    page.write_text(rendered(page, results), encoding="utf-8")
    for chart in charts(results):
        draw(chart, picture(page, chart))


def stale(page: Path) -> list[Path]:
    """The files that are not what `write` would make of the results: the page, or plots that show something else."""
    from benchmarks.plots import description

    results = load(results_file(page))
    found = [page] if page.read_text(encoding="utf-8") != rendered(page, results) else []
    for chart in charts(results):
        file = picture(page, chart)
        if not file.exists() or _described(file) != description(chart):
            found.append(file)
    return found


def _described(file: Path) -> str:
    """What a plot says of itself."""
    place = "{http://purl.org/dc/elements/1.1/}description"
    return ET.parse(file).findtext(f".//{place}") or ""  # noqa: S314 # our own file
