"""The repository agrees with itself: README, CI, tox, the packaging and the tests say the same things."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shlex
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parent.parent
PACKAGE_FILES = sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("asyncgen_tools/**/*.py"))
TEST_FILES = sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("tests/**/test_*.py"))


@cache
def read(path: str) -> str:
    """The text of a file of the checkout."""
    return (CHECKOUT / path).read_text(encoding="utf-8")


@cache
def tracked_files() -> tuple[str, ...]:
    """Every text file that git tracks; without git there is no saying."""
    try:
        command = ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files", "-z"]
        completed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git is not installed, or this is not a checkout")
    return tuple(name for name in completed.stdout.split("\0") if name and (CHECKOUT / name).is_file())


def other_files() -> list[str]:
    """The tracked files that do not themselves list what is looked for."""
    return [name for name in tracked_files() if name != "tests/test_repository.py"]


def tox() -> configparser.ConfigParser:
    """tox.ini, its values as they are written."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(read("tox.ini"))
    return parser


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads(read("pyproject.toml"))


def readme_commands() -> list[str]:
    """The command lines that README.md tells a reader to paste."""
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def test_readme_has_two_command_lines() -> None:
    """README gives one command line that runs the main job, and one that passes the tests, each complete in itself."""
    main_job, tests = readme_commands()
    assert main_job.startswith("python3 -m venv .venv && ")
    assert main_job.endswith("python docs/examples/sqlite_rows.py")
    assert tests.startswith("python3 -m venv .venv && ")
    assert tests.endswith("python -m pytest")


def test_ci_runs_the_readme_commands() -> None:
    """The pattern by which .ci/run finds the README's command lines finds both, and nothing else."""
    match = re.search(r"grep -E '([^']+)' README\.md", read(".ci/run"))
    assert match is not None
    assert [line for line in read("README.md").splitlines() if re.search(match[1], line)] == readme_commands()


def test_ci_knows_its_environments() -> None:
    """What .ci/run runs side by side, and what it leaves to people, is in tox's list, so none runs twice or never."""
    for name in ("suites", "by_hand"):
        match = re.search(rf"^{name}=(\S+)$", read(".ci/run"), re.MULTILINE)
        assert match is not None
        listed = tox()["tox"]["env_list"].replace("py{311,312,313}", "py311 py312 py313").split()
        assert set(match[1].split(",")) <= set(listed)


def test_ci_can_be_executed() -> None:
    """.ci/run is executable, and the shell finds no mistake in its syntax."""
    assert os.access(CHECKOUT / ".ci/run", os.X_OK)
    completed = subprocess.run(["bash", "-n", ".ci/run"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (0, "")


def test_tox_describes_each_environment() -> None:
    """Every environment of tox.ini has a description, and every one runs by default but those that take very long."""
    parser = tox()
    environments = [section.removeprefix("testenv:") for section in parser.sections() if ":" in section]
    assert [name for name in environments if not parser[f"testenv:{name}"].get("description")] == []
    assert set(environments) - set(parser["tox"]["env_list"].split()) == {
        "benchmarks",
        "comparison",
        "fuzz",
        "soak",
        "mutation",
    }


def test_tox_and_classifiers_name_the_same_pythons() -> None:
    """Each Python that tox tests has a classifier, and the lowest is the floor."""
    match = re.search(r"py\{([\d,]+)\}", tox()["tox"]["env_list"])
    assert match is not None
    tested = [f"3.{digits[1:]}" for digits in match[1].split(",")]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project()["project"]["classifiers"]))
    # 3.14 is tested under pyodide.
    assert [*tested, "3.14"] == classified
    assert project()["project"]["requires-python"] == f">={tested[0]}"


def test_changelog_has_the_version() -> None:
    """The first heading with a date in CHANGELOG.md is the version of pyproject.toml, below one for what comes next."""
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(project()['project']['version'])} - \d{{4}}-\d\d-\d\d", headings[1])


def test_every_extra_is_covered() -> None:
    """The extra `testing` takes in what tests of async generators need, and README names none that is missing."""
    extras = project()["project"]["optional-dependencies"]
    assert set(extras) == {"trio", "uvloop", "pytest", "hypothesis", "testing"}
    match = re.search(r"-e '\.\[([\w,]+)\]' --group (\w+)", readme_commands()[1])
    assert match is not None
    assert set(match[1].split(",")) <= set(extras)
    assert match[2] in project()["dependency-groups"]


@pytest.mark.parametrize("path", [path for path in TEST_FILES if path.startswith("tests/test_real_")])
def test_real_parts_are_installed_somewhere(path: str) -> None:
    """What a test of a real part skips without is in the dependency groups of the tox environment that runs it."""
    environment = tox()["testenv:real"]
    assert "-o python_files=test_real_*.py" in environment["commands"]
    groups, package = project()["dependency-groups"], project()["project"]
    requirements = [package["dependencies"], *(groups[group] for group in environment["dependency_groups"].split())]
    requirements += [package["optional-dependencies"][extra] for extra in tox()["testenv"]["extras"].split()]
    installed = {re.split(r"[>=\[;]", requirement)[0] for group in requirements for requirement in group}
    needed = set(re.findall(r"importorskip\(\s*\"(\w+)", read(path)))
    assert needed
    assert needed <= installed


def test_contributing_gives_five_commands() -> None:
    """CONTRIBUTING.md gives five commands, and the ones that call tox name environments that exist."""
    match = re.search(r"^```sh\n(.*?)^```", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    assert match is not None
    commands = [line.partition("#")[0].strip() for line in match[1].splitlines()]
    assert len(commands) == 5
    named = {shlex.split(command)[2] for command in commands if command.startswith("tox -e")}
    assert named <= {section.removeprefix("testenv:") for section in tox().sections()}


def test_contributing_draws_the_layers() -> None:
    """The picture in CONTRIBUTING.md has the modules that exist, in the order that the import contract enforces."""
    contract = next(
        contract for contract in project()["tool"]["importlinter"]["contracts"] if contract["id"] == "layers"
    )
    existing = {path.stem for path in (CHECKOUT / "asyncgen_tools").iterdir()} - {"__init__", "py", "__pycache__"}
    enforced = [name for layer in contract["layers"] for name in re.findall(r"\w+", layer) if name in existing]
    match = re.search(r"^## The layers$.*?^```\n(.*?)^```", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    assert match is not None
    # A line's names stand before the spaces that set off its explanation.
    drawn = [name for line in match[1].splitlines() for name in re.findall(r"\w+", re.split(r"\s{2,}", line)[0])]
    assert drawn == enforced


@pytest.mark.parametrize("path", [path for path in PACKAGE_FILES if "pragma:" in (CHECKOUT / path).read_text("utf-8")])
def test_lines_that_are_not_measured_say_why(path: str) -> None:
    """Each line that the coverage leaves out gives its reason."""
    left_out = [line for line in read(path).splitlines() if "pragma:" in line]
    assert [line for line in left_out if not re.search(r"# pragma: no (cover|branch)  # \w", line)] == []


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(path: str) -> None:
    """Each relative link in the pages leads to a file of the repository."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", read(path))
    assert [target for target in targets if not (CHECKOUT / target).exists()] == []


def test_no_marker_of_unfinished_work() -> None:
    """No tracked file holds a note to finish something later: that is what issues are for."""
    marker = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert [name for name in other_files() if marker.search(read(name))] == []


def test_no_path_of_a_machine() -> None:
    """No tracked file names a directory of some machine's user, nor the host of a package registry."""
    place = re.compile(r"(?<![\w.{}*])/(?:home/\w|root/|work/|Users/\w|tmp/v/)|pypi\.org|npmjs\.com|npmjs\.org")
    assert [name for name in other_files() if place.search(read(name))] == []


def test_every_module_has_its_tests() -> None:
    """Each module of the package that runs something has its own tests/test_<module>.py."""
    package = CHECKOUT / "asyncgen_tools"
    modules = {path.stem.strip("_") for path in package.glob("*.py")}
    modules |= {f"testing_{path.stem.strip('_')}" for path in (package / "testing").glob("*.py")}
    # protocols.py holds nothing that runs: its tests are in typings/. The modules of loops/ have no public names: the
    # fixture `backend` runs the tests of those above on each of them. virtual_loop.py is what clocks.py hands over.
    exempt = {"init", "testing_init", "protocols", "testing_virtual_loop"}
    untested = {name for name in modules - exempt if not (CHECKOUT / "tests" / f"test_{name}.py").is_file()}
    assert untested == set()


CHECKS = re.compile(r"\b(raises|warns|check|(assert|check|sweep)_\w+)$")


def can_fail(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether something in its body fails if what it tests is wrong: an assert, or a call of what has one."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and CHECKS.search(ast.unparse(node.func)))
        for node in nodes
    )


@pytest.mark.parametrize("path", TEST_FILES)
def test_every_test_states_its_truth(path: str) -> None:
    """Every test function has a docstring, and something in it that can fail; so has a helper named check."""
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"
            if node.name.startswith(("test_", "check_")) or node.name == "check":
                assert can_fail(node), f"{path}: {node.name} asserts nothing"
