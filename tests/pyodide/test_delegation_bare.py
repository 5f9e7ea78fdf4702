"""Delegation under pyodide: the rules, driven by hand, and CPython's own tests where they are installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # pyodide's runner knows no root directory

from tests import test_delegation, test_delegation_yield_from

if "pytest" not in sys.modules:  # which has found them in their own files
    for _module in (test_delegation, test_delegation_yield_from):
        for _name, _test in list(vars(_module).items()):
            # the deepest recursions take longer there than they tell
            if _name.startswith("test_") and not _name.startswith(("test_depth_", "test_tree")):
                globals()[f"{_name}_of_{_module.__name__.rpartition('.')[2]}"] = _test
