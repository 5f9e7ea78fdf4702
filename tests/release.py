"""Look at what `python -m build` has made as its users will: `python -m tests.release DIRECTORY`.

DIRECTORY holds one sdist and one wheel of this checkout, and nothing else. The wheel is installed into environments
that are new and lie outside of the checkout, and there runs what README.md says; the sdist is unpacked, and its tests
run. Exits non-zero at the first thing that is not so.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from typing import Any

from tests.pages import BLOCK, CHECKOUT, README, found

PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME, VERSION = PROJECT["name"], PROJECT["version"]
#: The tests of the sdist that run. Each file of the others is there, and they would take minutes.
TESTS = ("tests/test_repository.py", "tests/test_runner_driven.py")
#: Passes only where pytest has found our plugin, and hypothesis our strategies.
TEST_MODULE = """
from hypothesis import given, settings
from asyncgen_tools.testing import Program

def test_plugin(asyncgen_driver):
    assert asyncgen_driver

@settings(max_examples=5)
@given(...)
def test_strategies(program: Program):
    assert program
"""


def main() -> int:
    """Check what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory: Path = parser.parse_args().directory.resolve()
    sdist, wheel = directory / f"{NAME}-{VERSION}.tar.gz", directory / f"{NAME}-{VERSION}-py3-none-any.whl"
    assert {*directory.iterdir()} == {sdist, wheel}, [*directory.iterdir()]
    run(sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel))
    check_contents(wheel)
    with tempfile.TemporaryDirectory(prefix="asyncgen_tools-release-") as folder:
        place = Path(folder)
        check_same_wheel(wheel, place)
        check_examples(wheel, place)
        check_extras(wheel, place)
        check_sdist(sdist, place)
    print(f"{NAME} {VERSION}: the wheel and the sdist are what README.md and pyproject.toml say")
    return 0


def run(*command: str, cwd: Path = CHECKOUT, warnings: bool = False) -> str:
    """What a command prints, with no way from its Python to the checkout but the current directory."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST_", "COV_"))}
    if not warnings:
        environment["PYTHONWARNINGS"] = "error"
    completed = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=120
    )
    if completed.returncode != 0:
        print(completed.stdout)
        sys.exit(f"{' '.join(command)} gave {completed.returncode}")
    return completed.stdout


def new_environment(place: Path, *requirements: str, options: tuple[str, ...] = ()) -> str:
    """The interpreter of a new virtual environment in which these are installed."""
    run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, str(place))
    python = str(place / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    run(*install, *options, *requirements, cwd=place)
    return python


def check_contents(wheel: Path) -> None:
    """The wheel holds each file of the package and the licence, and says of itself what pyproject.toml says."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    package = {path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob(f"{NAME}/**/*") if path.is_file()}
    info = f"{NAME}-{VERSION}.dist-info"
    beside = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert {*files} == {name for name in package if "__pycache__" not in name} | beside, sorted(files)
    assert f"{NAME}/py.typed" in files
    metadata = message_from_string(files[f"{info}/METADATA"].decode())
    assert (metadata["Name"], metadata["Version"]) == (NAME, VERSION)
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == PROJECT["license"]
    assert metadata.get_all("Provides-Extra") == sorted(PROJECT["optional-dependencies"])
    assert metadata.get_all("Classifier") == PROJECT["classifiers"]
    assert metadata.get_payload() == README.read_text(encoding="utf-8")
    entry_points = ConfigParser()
    entry_points.read_string(files[f"{info}/entry_points.txt"].decode())
    assert {group: dict(entry_points[group]) for group in entry_points.sections()} == PROJECT["entry-points"]


def check_same_wheel(wheel: Path, place: Path) -> None:
    """`build` made the wheel from the sdist; made from the checkout it is the same, byte for byte."""
    command = [sys.executable, "-m", "build", "--installer=uv", "--wheel", "--outdir", str(place / "direct")]
    run(*command, str(CHECKOUT), warnings=True)
    assert (place / "direct" / wheel.name).read_bytes() == wheel.read_bytes()


def check_examples(wheel: Path, place: Path) -> None:
    """With the wheel alone installed, README's examples print what README says, and the command line answers."""
    python = new_environment(place / "alone", str(wheel))
    home = run(python, "-c", f"import {NAME}; print({NAME}.__file__)", cwd=place)
    assert Path(home).is_relative_to(place / "alone"), home
    examples = [*found(BLOCK, README)]
    assert examples
    for line, example in examples:
        printed = run(python, "-c", example["code"], cwd=place)
        assert example["output"] is None or printed == example["output"], f"README.md:{line} printed {printed!r}"
    assert "check" in run(python, "-m", NAME, "--help", cwd=place)


def check_extras(wheel: Path, place: Path) -> None:
    """The extras bring what they name: the longer examples run, and pytest and hypothesis find our entry points."""
    extras = ",".join(PROJECT["optional-dependencies"])
    python = new_environment(place / "extras", f"{NAME}[{extras}] @ {wheel.as_uri()}", "aiosqlite")
    examples = CHECKOUT / "docs" / "examples"
    run(python, str(examples / "sqlite_rows.py"), "--rows", "3000", "--rounds", "1", cwd=place)
    run(python, str(examples / "trio_lines.py"), "--lines", "600", cwd=place)
    (place / "test_it.py").write_text(TEST_MODULE, encoding="utf-8")
    printed = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=place, warnings=True)
    # The fixture is there once for asyncio, for uvloop and for trio.
    assert re.search(r"^4 passed", printed, re.MULTILINE), printed


def check_sdist(sdist: Path, place: Path) -> None:
    """The sdist holds the tests with all that they need, and they run."""
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    tree = place / f"{NAME}-{VERSION}"
    assert files_in(tree) == files_in(CHECKOUT), files_in(tree) ^ files_in(CHECKOUT)
    group = ("--group", f"{tree}/pyproject.toml:test")
    python = new_environment(place / "tests", f"{tree}[trio,uvloop]", options=group)
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=tree, warnings=True)


def files_in(root: Path) -> set[Path]:
    """What a checkout holds in the folders whose names follow, as far as git tracks it."""
    folders = [root / name for name in (".ci", NAME, "benchmarks", "docs", "tests", "typings")]
    paths = {path.relative_to(root) for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path for path in paths if not {"__pycache__", "_build"} & {*path.parts}}


if __name__ == "__main__":
    sys.exit(main())
