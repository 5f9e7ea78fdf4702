"""A test runner of one page, for an interpreter that has no pytest: functions named `test_*`, plain asserts.

It knows no fixtures and no marks: a test that needs them does not belong under pyodide.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType


def load(path: Path) -> ModuleType:
    """The module that stands at `path`, imported under its file's name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def tests_of(module: ModuleType) -> Iterator[tuple[str, Callable[[], object]]]:
    """The module's test functions with their names, in the order of the file."""
    for name, function in vars(module).items():
        if name.startswith("test_") and inspect.isfunction(function):
            yield f"{module.__name__}.{name}", function


def run(checkout: str, paths: Iterable[str]) -> bool:
    """Run every test in the files at `paths`, print each result, and say whether any ran and all passed."""
    print(f"Python {sys.version.split()[0]} on {sys.platform}")
    passed = failed = 0
    for path in paths:
        for name, test in tests_of(load(Path(checkout, path))):
            try:
                test()
            except Exception:
                failed += 1
                print(f"FAILED {name}")
                traceback.print_exc()
            else:
                passed += 1
                print(f"passed {name}")
    print(f"{passed} passed, {failed} failed")
    return passed > 0 and failed == 0
