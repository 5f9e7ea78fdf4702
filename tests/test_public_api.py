"""The public surface as a whole: complete, importable, documented, and free to import."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import asyncgen_tools
from asyncgen_tools import errors

# Loops and harnesses need their library; their names are not meant for users.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(asyncgen_tools.__path__, "asyncgen_tools.")
    if not module.name.startswith(("asyncgen_tools.loops.", "asyncgen_tools.testing.harness."))
)
ERRORS = [getattr(errors, name) for name in errors.__all__]


def run_python(script: str) -> str:
    """What a fresh interpreter prints for `script`; it is isolated from this one's modules and options."""
    completed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return completed.stdout


@functools.cache
def imported_names() -> dict[str, set[str]]:
    """The names that the package imports from each of its modules, for types or at run time."""
    names: dict[str, set[str]] = {name: set() for name in MODULES}
    for path in Path(asyncgen_tools.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in names:
                names[node.module].update(alias.name for alias in node.names)
    return names


@pytest.mark.parametrize("name", asyncgen_tools.__all__)
def test_front_door_resolves_each_name(name: str) -> None:
    """Every name in `__all__` can be had from the package, is its home module's object, and stays resolved."""
    value = getattr(asyncgen_tools, name)
    assert value.__name__ == name
    assert getattr(sys.modules[value.__module__], name) is value
    assert vars(asyncgen_tools)[name] is value


def test_front_door_types_each_name() -> None:
    """The names that type checkers see, under TYPE_CHECKING, are those of `__all__`, each from its home."""
    typed: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(asyncgen_tools))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("asyncgen_tools."):
            typed |= {alias.name: node.module for alias in node.names}
    assert typed == {name: getattr(asyncgen_tools, name).__module__ for name in asyncgen_tools.__all__}


def test_front_door_is_not_shadowed_by_a_module() -> None:
    """A name stays the object of `__all__` when the module of the same name was imported first."""
    printed = run_python("import asyncgen_tools.hosted; print(asyncgen_tools.hosted.__name__)")
    assert printed == "hosted\n"


def test_front_door_lists_its_names() -> None:
    """`dir(asyncgen_tools)` shows every public name, also before its first use."""
    listed = json.loads(run_python("import json, asyncgen_tools; print(json.dumps(dir(asyncgen_tools)))"))
    assert set(asyncgen_tools.__all__) <= set(listed)
    kit = importlib.import_module("asyncgen_tools.testing")
    assert set(kit.__all__) <= set(dir(kit))


def test_front_door_refuses_other_names() -> None:
    """A name that the package does not have is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="'asyncgen_tools' has no attribute 'dirve'"):
        _ = asyncgen_tools.dirve


def test_front_door_loads_nothing() -> None:
    """`import asyncgen_tools` loads no event loop, none of the optional libraries, and none of its own modules."""
    script = "import sys; before = set(sys.modules); import asyncgen_tools; print(*sorted(set(sys.modules) - before))"
    loaded = run_python(script).split()
    assert "asyncgen_tools" in loaded
    assert {name.partition(".")[0] for name in loaded} & {"asyncio", "trio", "anyio", "pytest", "hypothesis"} == set()
    assert [name for name in loaded if name.startswith("asyncgen_tools.")] == []


def test_drive_loads_no_other_loop() -> None:
    """Driving on asyncio loads neither trio nor uvloop, nor what only tests need."""
    script = """
import sys
from asyncgen_tools import drive
async def source():
    yield 1
assert list(drive(source())) == [1]
print(*sys.modules)
"""
    loaded = set(run_python(script).split())
    assert "asyncio" in loaded
    assert loaded & {"trio", "uvloop", "pytest", "hypothesis"} == set()


@pytest.mark.parametrize("name", MODULES)
def test_all_is_complete(name: str) -> None:
    """A module's `__all__` has no duplicates, names what can be imported, and everything that others import from it."""
    module = importlib.import_module(name)
    exported: tuple[str, ...] = module.__all__
    assert type(exported) is tuple
    assert len(set(exported)) == len(exported)
    assert [public for public in exported if not hasattr(module, public)] == []
    assert imported_names()[name] - set(exported) == set()


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_documented(name: str) -> None:
    """Each module, and each public class, function and method in it, has a docstring of its own."""
    module = importlib.import_module(name)
    assert module.__doc__
    undocumented: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            undocumented += _undocumented_members(node)
        if (
            isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
            and not _is_overload(node)
        ):
            undocumented.append(node.name)
    assert undocumented == []


def _undocumented_members(node: ast.ClassDef) -> list[str]:
    protocol = any("Protocol" in ast.unparse(base) for base in node.bases)
    return [
        f"{node.name}.{member.name}"
        for member in node.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
        and not member.name.startswith("_")
        and not ast.get_docstring(member)
        and not _is_overload(member)
        and not protocol  # a Protocol's methods are the language's own; its docstring says which
    ]


def _is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


@pytest.mark.parametrize("error", ERRORS)
def test_errors_have_one_base(error: type[BaseException]) -> None:
    """Every error is an AsyncgenToolsError, so that one `except` catches whatever the library raises of its own."""
    assert issubclass(error, errors.AsyncgenToolsError)


@pytest.mark.parametrize("error", [error for error in ERRORS if error is not errors.AsyncgenToolsError])
def test_errors_are_builtins(error: type[BaseException]) -> None:
    """Every error is also the built-in that a caller would catch, and not just an Exception."""
    builtins = [base for base in error.__mro__ if base.__module__ == "builtins"]
    assert builtins[0] not in {Exception, BaseException, object}


def test_package_is_typed() -> None:
    """The package carries the marker by which type checkers read its annotations."""
    assert Path(asyncgen_tools.__path__[0], "py.typed").is_file()
