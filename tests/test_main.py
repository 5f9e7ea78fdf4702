"""python -m asyncgen_tools check: the table, the exit status, and clear errors for what is no target."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from asyncgen_tools.__main__ import CODES, main
from asyncgen_tools.testing import get_backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

GOOD, BROKEN = "tests.shelf.good", "tests.shelf.broken"
CHECKOUT = Path(__file__).parent.parent


def results(output: str) -> dict[tuple[str, str], str]:
    """The cells of the table of `--json`."""
    return {(item["code"], item["backend"]): item["result"] for item in json.loads(output)["results"]}


def test_good_target(capsys: pytest.CaptureFixture[str]) -> None:
    """A good generator exits 0, with a table of checks × backends on standard output and progress on standard error."""
    assert main(["check", f"{GOOD}:numbers", "--backend", "asyncio", "--backend", "bare"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"{GOOD}:numbers"
    assert lines[2].split() == ["check", "asyncio", "bare"]
    assert "leak                  passed   passed" in lines
    assert "sweep-cancellation    passed   skipped" in lines
    assert "sweep-cancellation on bare was skipped: bare has no cancellation" in lines
    assert printed.err.splitlines()[0] == ". asyncio leak"
    assert "s bare sweep-cancellation" in printed.err


def test_broken_target(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken one exits 1, and the report with the user's line stands below the table."""
    assert main(["check", f"{BROKEN}:loop_over_inner"]) == 1
    printed = capsys.readouterr()
    assert "leak                  failed" in printed.out
    assert "in loop_over_inner" in printed.out
    assert "contextlib.aclosing" in printed.out
    assert "F asyncio leak" in printed.err


def test_sweep_finds_what_checks_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The sweeps have rows of their own: an error in cleanup is found by closing at each yield."""
    assert main(["check", f"{__name__}:fails_in_cleanup", "--only", "sweep-close", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == 1
    assert "ZeroDivisionError" in found["results"][0]["detail"]


async def fails_in_cleanup() -> Any:
    """Its cleanup has a mistake, on the way that is seldom gone."""
    try:
        yield 1
    except GeneratorExit:
        _ = 1 / 0
    yield 2


def test_only_and_skip(capsys: pytest.CaptureFixture[str]) -> None:
    """`--only` also brings in the opt-in checks, `--skip` leaves out; by default those two do not run."""
    main(["check", f"{GOOD}:numbers", "--json"])
    assert {code for code, _ in results(capsys.readouterr().out)} == set(CODES) - {"wrong-task", "no-checkpoint"}
    main(["check", f"{GOOD}:numbers", "--json", "--only", "leak", "--only", "wrong-task", "--skip", "leak"])
    assert results(capsys.readouterr().out) == {("wrong-task", "asyncio"): "passed"}


def test_json_says_all(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one object: the target, the number of failures, and each cell with its detail."""
    assert main(["check", f"{BROKEN}:loop_over_inner", "--json", "--only", "leak"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["target"] == f"{BROKEN}:loop_over_inner"
    assert printed["failed"] == 1
    assert [item["code"] for item in printed["results"]] == ["leak"]
    assert "rows unfinished" in printed["results"][0]["detail"]


def test_sweeps_stop_endless_generators(capsys: pytest.CaptureFixture[str]) -> None:
    """An endless generator is swept over its first items."""
    assert main(["check", f"{GOOD}:endless", "--only", "sweep-cancellation", "--only", "sweep-close"]) == 0
    assert "sweep-close" in capsys.readouterr().out


@pytest.mark.parametrize(
    "target, message",
    [
        ("nonsense", "'nonsense' names no factory. Write PACKAGE.MODULE:FACTORY"),
        ("tests.shelf.nosuch:make", "'tests.shelf.nosuch' cannot be imported: ModuleNotFoundError"),
        (f"{GOOD}:nosuch", "'tests.shelf.good' has no 'nosuch'"),
        (f"{GOOD}:GOOD", "of type list, and not a function that makes a new generator"),
        (f"{GOOD}:checkpoint", "not the coroutine function <function checkpoint"),
        (f"{__name__}:made_already", "of type async_generator, and not a function that makes a new generator"),
        (f"{__name__}:gives_a_list", r"not [1, 2] of type list. It is a sync iterable"),
        (f"{__name__}:never_yields", "never_yields ended without yielding anything"),
        (f"{__name__}:raises_at_once", r"raised OSError('no server') on asyncio"),
        (f"{__name__}:needs_arguments", "needs_arguments() missing 1 required positional argument: 'number'"),
        (f"{__name__}:needs_arguments", "`def make(): return needs_arguments(...)` in my_targets.py"),
        (f"{__name__}:raises_at_once", "Name another one by --backend."),
    ],
)
def test_bad_targets(target: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no target exits 2 with a line that says what was found and what to write; by --json, it is in JSON."""
    assert main(["check", target]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    error = printed.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "check_async_generator" not in error
    assert printed.out == ""
    assert main(["check", target, "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {
        "target": target,
        "failed": 0,
        "error": error.removeprefix("error: "),
        "results": [],
    }


def gives_a_list() -> list[int]:
    """No async iterable."""
    return [1, 2]


async def never_yields(items: tuple[int, ...] = ()) -> AsyncGenerator[int, None]:
    """Nothing to check."""
    for item in items:
        yield item


async def raises_at_once(servers: tuple[str, ...] = ()) -> AsyncGenerator[str, None]:
    """Nothing to check, either."""
    if not servers:
        raise OSError("no server")
    yield servers[0]


async def needs_arguments(number: int) -> Any:
    """Not a factory."""
    yield number


made_already = never_yields()


def test_hang_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """A generator that hangs is a finding: exit 1, with the line at which it hangs."""
    assert main(["check", f"{__name__}:hangs", "--timeout", "0.4"]) == 1
    printed = capsys.readouterr()
    assert "survey  failed" in printed.out
    assert "in hangs: it took longer than 0.4 s" in printed.out
    assert "F asyncio survey" in printed.err
    assert main(["check", f"{__name__}:hangs", "--timeout", "0.4", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [found["failed"], found["error"]] == [1, None]
    assert [(item["code"], item["result"]) for item in found["results"]] == [("survey", "failed")]


def test_a_backend_that_cannot_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not take away the table of the others; the exit status is 2."""
    command = ["check", f"{__name__}:only_on_asyncio", "--only", "leak", "--backend", "bare", "--backend", "asyncio"]
    assert main(command) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2:5] == [
        "check   bare   asyncio",
        "survey  error",
        "leak           passed",
    ]
    assert "raised RuntimeError('no running event loop') on bare" in printed.out
    assert "Name another one by --backend." in printed.out
    assert main([*command, "--json"]) == 2
    assert results(capsys.readouterr().out) == {("survey", "bare"): "error", ("leak", "asyncio"): "passed"}


async def only_on_asyncio() -> Any:
    """Has no business elsewhere."""
    import asyncio

    asyncio.get_running_loop()
    yield 1


async def hangs() -> Any:
    """Waits for what never comes."""
    import asyncio

    yield 1
    await asyncio.Event().wait()


def test_bad_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown codes and backends exit 2 and say what there is."""
    assert main(["check", f"{GOOD}:numbers", "--only", "leaks"]) == 2
    assert "There is no check 'leaks'. The checks are: leak," in capsys.readouterr().err
    assert main(["check", f"{GOOD}:numbers", "--only", "leak", "--skip", "leak"]) == 2
    assert "--skip leaves out every check that --only names" in capsys.readouterr().err
    assert main(["check", f"{GOOD}:numbers", *(f"--skip={code}" for code in CODES)]) == 2
    assert "--skip leaves out every check. Name fewer" in capsys.readouterr().err
    assert main(["check", f"{GOOD}:numbers", "--backend", "curio"]) == 2
    assert "There is no backend 'curio'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_missing_library_is_skipped_with_a_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend whose library is missing is in the table as skipped, with the reason; alone, it is an error."""
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", dict[str, None]().get)
    assert get_backend("trio").missing
    assert main(["check", f"{GOOD}:numbers", "--backend", "bare", "--backend", "trio", "--only", "leak"]) == 0
    assert "leak on trio was skipped: backend 'trio' needs trio, which is not installed" in capsys.readouterr().out
    assert main(["check", f"{GOOD}:numbers", "--backend", "trio", "--only", "leak"]) == 2
    assert "No backend is left to run on" in capsys.readouterr().err


def test_from_the_shell() -> None:
    """`python -m asyncgen_tools check` finds modules of the current directory and passes the exit status on."""
    command = [sys.executable, "-W", "error", "-m", "asyncgen_tools", "check", f"{BROKEN}:loop_over_inner"]
    completed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=50)
    assert completed.returncode == 1, completed.stderr
    assert "leak                  failed" in completed.stdout
    assert "Traceback" not in completed.stderr


def test_the_page_shows_what_is_printed() -> None:
    """The how-to's command, run where it says, prints the table that the page shows; the mended generator passes."""
    page = (CHECKOUT / "docs/how-to/check-a-generator-from-the-shell.md").read_text(encoding="utf-8")
    shown = re.search(r"^```sh\n(.*?)\n```.*?^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    words = shlex.split(shown[1])
    assert words[:3] == ["python", "-m", "asyncgen_tools"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "asyncgen_tools", *arguments],
            cwd=CHECKOUT / "docs/examples",
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )

    completed = run(*words[3:])
    assert completed.returncode == 1, completed.stderr
    assert completed.stdout.replace(str(CHECKOUT / "docs/examples") + os.sep, "") == shown[2]
    assert run("check", "streams:upper_closed", "--json").returncode == 0


def test_the_page_says_what_its_factory_gets(tmp_path: Path) -> None:
    """The how-to's own factory is rejected by the one check that the page names, and passes without it."""
    pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")
    page = (CHECKOUT / "docs/how-to/check-a-generator-from-the-shell.md").read_text(encoding="utf-8")
    shown = re.search(
        r"^```python\n(# my_targets\.py.*?)^```\n\nOne check rejects it.*?: `(.*?)`", page, re.MULTILINE | re.DOTALL
    )
    assert shown is not None
    (tmp_path / "my_targets.py").write_text(shown[1], encoding="utf-8")

    def failures(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "asyncgen_tools", "check", "my_targets:rows", "--json", *arguments]
        completed = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        found = [code for (code, _), result in results(completed.stdout).items() if result == "failed"]
        assert completed.returncode == bool(found), completed.stderr
        return found

    assert failures() == [shown[2]]
    assert failures("--skip", shown[2]) == []


def test_sweeps_take_iterators(capsys: pytest.CaptureFixture[str]) -> None:
    """An async iterator, which has no `aclose()`, can be swept as well."""
    assert main(["check", f"{__name__}:OnlyAnIterator", "--only", "sweep-cancellation"]) == 0
    assert "passed" in capsys.readouterr().out


class OnlyAnIterator:
    """Yields 1 twice."""

    left = 2

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return 1
