"""The examples in docstrings run, and print what they say they print."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
from typing import Any

import pytest

import asyncgen_tools
from asyncgen_tools import testing
from tests.test_public_api import MODULES

EXAMPLES = [
    pytest.param(example, id=example.name)
    for name in MODULES
    if importlib.util.find_spec("hypothesis") or name != "asyncgen_tools.strategies"
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]
# The values of the kit: what its functions give. No example would say more of them than their attributes do.
VALUES = {
    "DIFFERENCES",
    "Ending",
    "Entry",
    "Leak",
    "LeakKind",
    "LeakTracker",
    "Notes",
    "Place",
    "SweepPoint",
    "SweepReport",
    "Trace",
    "TraceStep",
    "Transcript",
    "Verdict",
    "arecord",  # the example is that of its twin, record
}


@pytest.mark.asyncgen_leaks("off")  # an example of leak tracking leaks
@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example: doctest.DocTest) -> None:
    """Each example in a docstring of the package prints what is written below it."""
    printed: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=printed.append)
    assert result.failed == 0, "".join(printed)


@pytest.mark.parametrize("place", [asyncgen_tools, testing], ids=lambda place: str(place.__name__))
def test_every_tool_has_an_example(place: Any) -> None:
    """Each public function and class of the package and of its testing kit shows how it is used, values excepted."""
    names = set(place.__all__) - VALUES
    assert [name for name in sorted(names) if ">>>" not in (inspect.getdoc(getattr(place, name)) or "")] == []
