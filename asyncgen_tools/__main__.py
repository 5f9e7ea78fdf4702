"""The command line: `python -m asyncgen_tools check PACKAGE.MODULE:FACTORY`.

It runs the conformance checks and both sweeps on what a factory gives, shows progress on standard error while it works,
and prints one table (checks × backends), or JSON, on standard output. It exits with 0 if nothing was found, 1 if
something was, and 2 for a target that cannot be imported, or cannot be called or checked on one of the backends.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from asyncgen_tools.arguments import describe
from asyncgen_tools.errors import (
    ArgumentValueError,
    AsyncgenToolsError,
    ConformanceError,
    SourceTypeError,
    SweepError,
    UncheckableError,
    UnknownBackendError,
)
from asyncgen_tools.testing import get_backend, sweep_cancellation, sweep_close
from asyncgen_tools.testing.conformance import CHECK_CODES, Wording, chosen_checks, examine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncgen_tools.testing import Backend

__all__ = ("main",)

SWEEPS = ("sweep-cancellation", "sweep-close")
CODES = (*CHECK_CODES, *SWEEPS)
SURVEY = "survey"  # what goes before the checks: it is in the table only where it did not succeed
WORDING = Wording(
    user="check",
    factory="Name a function without parameters that calls it, in a file of this folder: with "
    "`def make(): return {}(...)` in my_targets.py, that is my_targets:make.",
    backends="Name another one by --backend.",
)


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One cell of the table: what a check or sweep says on one backend, and why; "error" if it could not begin."""

    code: str
    backend: str
    result: Literal["passed", "failed", "skipped", "error"]
    detail: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; by default, those of the process.

    Returns:
        The exit status, which is 0, 1 or 2.
    """
    parser = argparse.ArgumentParser(prog="python -m asyncgen_tools", description="Tools for async generators.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "check",
        help="check that an async generator behaves, and that it is safe to cancel and to close",
        description=f"Checks: {', '.join(CODES)}.",
    )
    command.add_argument("target", metavar="PACKAGE.MODULE:FACTORY", help="a function without parameters")
    command.add_argument("--backend", action="append", metavar="NAME", help="asyncio, trio, bare, uvloop, level")
    command.add_argument("--only", action="append", metavar="CODE", default=[], help="run only these checks")
    command.add_argument("--skip", action="append", metavar="CODE", default=[], help="leave out these checks")
    command.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="of each step (5)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    try:
        return check(options)
    except AsyncgenToolsError as error:
        if options.json:
            print(as_json(options.target, (), error=str(error)))
        print(f"error: {error}", file=sys.stderr)
        return 2


def check(options: argparse.Namespace) -> int:
    """The command `check`; gives the exit status."""
    codes = chosen_codes(options.only, options.skip)
    make = imported(options.target)
    findings: list[Finding] = []
    backends, skipped = chosen_backends(options.backend or ["asyncio"])
    if not backends:
        raise UnknownBackendError(f"No backend is left to run on: {'; '.join(skipped.values())}.")
    for backend in backends:
        for finding in found(make, backend, codes, options.timeout):
            findings.append(finding)
            note = {"passed": ".", "failed": "F", "skipped": "s", "error": "E"}[finding.result]
            print(f"{note} {finding.backend} {finding.code}", file=sys.stderr, flush=True)
    results = {finding.result for finding in findings}
    if results == {"error"}:
        raise UncheckableError(" ".join(dict.fromkeys(finding.detail or "" for finding in findings)))
    findings += [Finding(code, name, "skipped", reason) for name, reason in skipped.items() for code in codes]
    print(as_json(options.target, findings) if options.json else as_text(options.target, findings))
    return 2 if "error" in results else 1 if "failed" in results else 0


def chosen_codes(only: Sequence[str], skip: Sequence[str]) -> list[str]:
    """The codes to run, in their order.

    Raises:
        ArgumentValueError: there is no such check, or none is left.
    """
    for code in (*only, *skip):
        if code not in CODES:
            raise ArgumentValueError(f"There is no check {code!r}. The checks are: {', '.join(CODES)}.")
    wanted = only or [*chosen_checks(None), *SWEEPS]
    chosen = [code for code in CODES if code in wanted and code not in skip]
    if not chosen:
        named = " that --only names" if only else ""
        raise ArgumentValueError(f"--skip leaves out every check{named}. Name fewer, or there is nothing to run.")
    return chosen


def chosen_backends(names: Sequence[str]) -> tuple[list[Backend], dict[str, str]]:
    """The backends that are installed, and why the others are left out."""
    backends = [get_backend(name) for name in dict.fromkeys(names)]
    missing = {backend.id: backend.missing for backend in backends if backend.missing is not None}
    return [backend for backend in backends if backend.id not in missing], missing


def imported(target: str) -> Callable[[], Any]:
    """The factory that the target names.

    Raises:
        ArgumentValueError: it cannot be imported, or is not callable.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ArgumentValueError(
            f"{target!r} names no factory. Write PACKAGE.MODULE:FACTORY, such as my_package.streams:read_lines."
        )
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does for the program itself
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as exc:
        raise ArgumentValueError(
            f"{module_name!r} cannot be imported: {type(exc).__name__}: {exc}. Give a module that Python finds from "
            "this directory, and whose import succeeds."
        ) from exc
    finally:
        sys.path.pop(0)
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise ArgumentValueError(
                f"{module_name!r} has no {attribute!r}. Name a function of it that gives an async generator."
            )
        value = getattr(value, name)
    if not callable(value):
        raise ArgumentValueError(
            f"{target!r} is {describe(value)}, and not a function that makes a new generator "
            "each time. Name the function instead of what it gave."
        )
    return value  # type: ignore[no-any-return]


def found(make: Callable[[], Any], backend: Backend, codes: Sequence[str], timeout: float) -> Iterator[Finding]:
    """What each check and sweep finds on a backend, one after the other."""
    checks = [code for code in codes if code in CHECK_CODES]
    try:
        for verdict in examine(make, backends=[backend], codes=checks, max_yields=4, timeout=timeout, wording=WORDING):
            detail = verdict.reason if verdict.error is None else str(verdict.error)
            yield Finding(verdict.code, backend.id, verdict.result, detail)
    except ConformanceError as error:
        yield Finding(SURVEY, backend.id, "failed", str(error))
        return
    except (SourceTypeError, UncheckableError) as error:
        yield Finding(SURVEY, backend.id, "error", str(error))
        return
    for code in codes:
        if code in SWEEPS:
            yield swept(make, backend, code, timeout)


def swept(make: Callable[[], Any], backend: Backend, code: str, timeout: float) -> Finding:
    """What a sweep finds on a backend."""
    if code == "sweep-cancellation" and backend.cancellation == "none":
        return Finding(code, backend.id, "skipped", f"{backend.id} has no cancellation")
    try:
        if code == "sweep-cancellation":
            sweep_cancellation(lambda: first_items(make()), backend=backend, timeout=timeout)
        else:
            sweep_close(make, backend=backend, max_yields=4, timeout=timeout)
    except (SweepError, ConformanceError) as error:
        return Finding(code, backend.id, "failed", f"{code} on {backend.id}: {error}")
    return Finding(code, backend.id, "passed")


async def first_items(source: Any) -> None:
    """Iterate a few items, and close: the scenario of the cancellation sweep, endless generators included."""
    iterator = aiter(source)
    try:
        for _ in range(4):
            await anext(iterator)
    except StopAsyncIteration:
        pass
    finally:
        if hasattr(iterator, "aclose"):
            await iterator.aclose()


def as_json(target: str, findings: Sequence[Finding], *, error: str | None = None) -> str:
    """The findings as JSON, or the error that is there in their place."""
    results = [
        {"code": item.code, "backend": item.backend, "result": item.result, "detail": item.detail} for item in findings
    ]
    failed = sum(item.result == "failed" for item in findings)
    return json.dumps({"target": target, "failed": failed, "error": error, "results": results}, indent=2)


def as_text(target: str, findings: Sequence[Finding]) -> str:
    """The findings as a table (checks × backends), with the failures in full below it."""
    backends = list(dict.fromkeys(item.backend for item in findings))
    results = {(item.code, item.backend): item.result for item in findings}
    codes = [code for code in (SURVEY, *CODES) if any(item.code == code for item in findings)]
    rows = [["check", *backends]] + [[code, *(results.get((code, name), "") for name in backends)] for code in codes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    failures = [item.detail or item.code for item in findings if item.result in {"failed", "error"}]
    reasons = dict.fromkeys(
        f"{item.code} on {item.backend} was skipped: {item.detail}" for item in findings if item.result == "skipped"
    )
    return "\n".join(
        [target, "", *lines, *(f"\n{failure}" for failure in failures), *(["", *reasons] if reasons else [])]
    )


if __name__ == "__main__":
    sys.exit(main())
