"""Install pyodide from npm and run tests under it: `python tests/pyodide/run.py --install-into DIRECTORY [PATH...]`.

Without Node.js there is nothing to run on: that is said, and is no failure. Everything is written below DIRECTORY.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
# The major version is CPython's: 314 is CPython 3.14.
PYODIDE = "pyodide@314.0.7"


def main() -> int:
    """Run what the command line asks for; the exit code is that of the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install-into", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("paths", nargs="*", help="test files, relative to the checkout (default: all of tests/pyodide)")
    options = parser.parse_args()
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        print("skipped: Node.js is not installed (node and npm are needed)")
        return 0
    directory: Path = options.install_into
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "node_modules" / "pyodide").is_dir():
        subprocess.run([npm, "install", "--no-save", "--no-audit", "--no-fund", PYODIDE], cwd=directory, check=True)
    paths = options.paths or sorted(str(path.relative_to(CHECKOUT)) for path in HERE.glob("test_*.py"))
    environment = os.environ | {"NODE_PATH": str(directory.resolve() / "node_modules")}
    return subprocess.run([node, str(HERE / "run.mjs"), *paths], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
