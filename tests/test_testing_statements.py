"""Bodies as data: what is written for each statement, in each rendering."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest

from asyncgen_tools.testing.statements import (
    Await,
    Delegate,
    Loop,
    Raise,
    Rendering,
    Return,
    Statement,
    TryExcept,
    TryFinally,
    With,
    Yield,
    source_of,
)

RENDERINGS: tuple[Rendering, ...] = ("sync", "async", "delegating")

#: Each statement, and its lines in the sync rendering and in the delegating one.
LINES: list[tuple[Statement, str, str]] = [
    (Yield(3), "note((yield 3))", "note((yield 3))"),
    (Await(), "checkpoint()", "await checkpoint()"),
    (Raise("KeyError"), "raise KeyError('raised')", "raise KeyError('raised')"),
    (Raise("StopIteration"), "raise StopIteration('raised')", "raise StopAsyncIteration('raised')"),
    (Return(), "return", "await set_return_value(None)\nreturn"),
    (Return(2), "return 2", "await set_return_value(2)\nreturn"),
    (With((Yield(),)), "with scope():\n    note((yield 0))", "async with scope():\n    note((yield 0))"),
    (Loop(3), "for _ in range(3):\n    pass", "for _ in range(3):\n    pass"),
    (
        TryExcept((Yield(),), "StopIteration", (Yield(1),)),
        "try:\n    note((yield 0))\nexcept StopIteration as error:\n    note(error)\n    note((yield 1))",
        "try:\n    note((yield 0))\nexcept StopAsyncIteration as error:\n    note(error)\n    note((yield 1))",
    ),
    (
        TryFinally((), (Yield(1),)),
        "try:\n    pass\nfinally:\n    note('finally')\n    note((yield 1))",
        "try:\n    pass\nfinally:\n    note('finally')\n    note((yield 1))",
    ),
    (Delegate(), "note((yield from part1()))", "note(await yield_from(part1()))"),
]


@pytest.mark.parametrize("statement, sync, delegating", LINES, ids=lambda value: str(value).partition("\n")[0])
def test_lines(statement: Statement, sync: str, delegating: str) -> None:
    """Each statement is written as one would write it by hand."""
    assert textwrap.indent(sync, "    ") in source_of((statement,), "sync")
    assert textwrap.indent(delegating, "    ") in source_of((statement,), "delegating")


@pytest.mark.parametrize("rendering", RENDERINGS)
@pytest.mark.parametrize("statement", [line[0] for line in LINES], ids=str)
def test_source_is_of_a_generator(statement: Statement, rendering: Rendering) -> None:
    """Whatever a body holds, its source compiles, and every function in it is a generator function."""
    source = source_of((statement,), rendering)
    flag = 0x20 if rendering == "sync" else 0x200  # CO_GENERATOR, CO_ASYNC_GENERATOR
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names: dict[str, Any] = {"delegating": undecorated}
    exec(source, names)  # noqa: S102  # what we have just written
    assert functions
    assert all(names[function.name].__code__.co_flags & flag for function in functions)


def undecorated(function: Any) -> Any:
    """In the place of a decorator."""
    return function


def test_subgenerators_have_names_of_their_own() -> None:
    """Each subgenerator is a function of its own, in the order in which they are met."""
    source = source_of((Delegate((Delegate(),)), Delegate()), "sync")
    assert [line for line in source.splitlines() if line.startswith("def")] == [
        "def program():",
        "def part1():",
        "def part2():",
        "def part3():",
    ]


def test_bodies_are_values() -> None:
    """Statements are equal by what they hold, and can be hashed."""
    assert len({statement for statement, _, _ in LINES} | {Yield(3), With((Yield(),))}) == len(LINES)
