"""CPython's own tests, run with a pure delegator put in front of every async generator in them.

The interpreter's `Lib/test` is read, rewritten in memory and run; nothing of it is copied. Without rewriting the same
tests give the results to compare with.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import types
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncgen_tools import delegating, set_return_value, yield_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator


def pure_delegator(function: Callable[..., AsyncGenerator[Any, Any]]) -> Callable[..., AsyncGenerator[Any, Any]]:
    """The same async generator function, each generator of which is reached through another one."""

    @delegating
    @functools.wraps(function)
    async def delegator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        await set_return_value(await yield_from(function(*args, **kwargs)))
        return
        yield  # type: ignore[unreachable]  # makes it an async generator

    return delegator


def delegate_to(generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """What `generator` gives, through another generator."""
    return pure_delegator(lambda: generator)()


class PutDelegatorsInFront(ast.NodeTransformer):
    """Decorate every async generator function and wrap every async generator expression."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Decorate it, innermost, if it contains a `yield`."""
        self.generic_visit(node)
        if any(isinstance(part, ast.Yield) for part in own_nodes(node)):
            node.decorator_list.append(ast.Name("pure_delegator", ast.Load()))
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        """Wrap it if it is asynchronous."""
        self.generic_visit(node)
        if any(loop.is_async for loop in node.generators) or any(
            isinstance(part, ast.Await) for part in ast.walk(node.elt)
        ):
            return ast.Call(ast.Name("delegate_to", ast.Load()), [node], [])
        return node


def own_nodes(function: ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of the functions in it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            todo.extend(ast.iter_child_nodes(node))


def load(name: str, *, through_delegators: bool) -> types.ModuleType:
    """A module of `Lib/test`, as it is or rewritten; LookupError if the interpreter came without it."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise LookupError(f"{name} is not installed with this interpreter")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    if through_delegators:
        tree = ast.fix_missing_locations(PutDelegatorsInFront().visit(tree))
    module = types.ModuleType(name)
    vars(module).update(__file__=spec.origin, pure_delegator=pure_delegator, delegate_to=delegate_to)
    exec(compile(tree, spec.origin, "exec"), vars(module))  # noqa: S102  # the interpreter's own tests
    return module


def results(name: str, *, through_delegators: bool) -> dict[str, str]:
    """The outcome of each test of a module of `Lib/test`: ok, skipped, or what went wrong."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(load(name, through_delegators=through_delegators))
    outcome = unittest.TestResult()
    parts: Any = suite  # a suite of suites
    names: list[str] = [test.id() for part in parts for test in part]
    suite.run(outcome)
    found: dict[str, str] = dict.fromkeys(names, "ok")
    found |= {test.id(): f"skipped: {reason}" for test, reason in outcome.skipped}
    found |= {test.id(): trace for test, trace in (*outcome.failures, *outcome.errors)}
    return found
