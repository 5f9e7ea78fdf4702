"""Async generators in a real notebook: cells in a Jupyter kernel, run by nbclient in a process of its own.

The kernel talks over sockets in the test's directory, and not over a network. It ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.pages import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

# Starting a kernel takes seconds on a busy machine.
pytestmark = pytest.mark.timeout(180)

CHECKOUT = Path(__file__).parent.parent
PAGE = CHECKOUT / "docs" / "how-to" / "notebooks.md"

# In a process of its own: the libraries of Jupyter leave sockets to the collector, which is an error in this one.
RUN_NOTEBOOK = """
import sys, nbclient, nbformat
from traitlets.config import Config

notebook = nbformat.read("notebook.ipynb", as_version=4)
config = Config({"KernelManager": {"transport": "ipc"}})
client = nbclient.NotebookClient(
    notebook, kernel_name="python3", timeout=60, startup_timeout=120, allow_errors=True, config=config
)
client.execute()
nbformat.write(notebook, "executed.ipynb")
"""

CELLS = {
    "kernel": "import os\nprint(os.getpid())",
    "definitions": """
import asyncio, threading
from asyncgen_tools import Portal, drive

went_on = threading.Event()
threads = set(threading.enumerate())

async def rows():
    async with asyncio.timeout(60):
        for number in range(3):
            await asyncio.sleep(0)
            yield number

async def with_background():
    async def tick():
        await asyncio.sleep(0.01)
        went_on.set()

    async with asyncio.TaskGroup() as group:
        yield "ready"
        group.create_task(tick())
        yield "started"
        yield "done"
""",
    "drive": "for row in drive(rows()):\n    print(row)",
    "portal": "with Portal() as portal:\n    for row in portal.drive(rows()):\n        print(row)",
    "interrupted": """
import signal
seen = []

async def stuck():
    try:
        yield 1
        os.kill(os.getpid(), signal.SIGINT)  # as "Interrupt" in the menu does
        await asyncio.sleep(3600)
        yield 2
    except BaseException as exc:
        seen.append(type(exc).__name__)
        raise
    finally:
        await asyncio.sleep(0)
        seen.append("cleaned up")

with Portal() as portal:
    for row in portal.drive(stuck()):
        seen.append(row)
""",
    "after that": "print(seen)",
    "async for": "async for row in rows():\n    print(row)",
    "opened": "portal = Portal()\nitems = portal.drive(with_background())\nprint(next(items), next(items))",
    "another cell": "print(went_on.wait(30), next(items))",
    "closed": "portal.close()\nprint(items.gi_frame, set(threading.enumerate()) - threads)",
}


def notebook_of(cells: list[str]) -> dict[str, Any]:
    """A notebook of these code cells, as it is in a file."""
    empty: dict[str, Any] = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    written = [{**empty, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
    return {"cells": written, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture(name="outputs", scope="module")
def outputs_fixture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """What the kernel put out for a cell, which is told by its source; all ran in one kernel, which has ended."""
    directory = tmp_path_factory.mktemp("notebook")
    cells = [*CELLS.values(), *(match["code"] for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")))]
    (directory / "notebook.ipynb").write_text(json.dumps(notebook_of(cells)), encoding="utf-8")
    own = {"PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))}
    own |= dict.fromkeys(
        ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), str(directory)
    )
    completed = subprocess.run(
        [sys.executable, "-c", RUN_NOTEBOOK],
        cwd=directory,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert completed.returncode == 0, completed.stderr
    executed = json.loads((directory / "executed.ipynb").read_text(encoding="utf-8"))
    by_source = {"".join(cell["source"]): cell["outputs"] for cell in executed["cells"]}
    return lambda source: list(by_source[source])


def printed(outputs: list[dict[str, Any]]) -> str:
    """What a cell printed, if it did nothing else."""
    assert {(output["output_type"], output.get("name")) for output in outputs} <= {("stream", "stdout")}, outputs
    return "".join("".join(output["text"]) for output in outputs)


def test_portal_in_a_cell(outputs: Callable[[str], list[dict[str, Any]]]) -> None:
    """A cell iterates with `Portal` in a plain `for` loop, over a generator that holds a timeout over its yields."""
    assert printed(outputs(CELLS["definitions"])) == ""
    assert printed(outputs(CELLS["portal"])) == "0\n1\n2\n"
    assert printed(outputs(CELLS["async for"])) == "0\n1\n2\n"


def test_drive_in_a_cell_names_portal(outputs: Callable[[str], list[dict[str, Any]]]) -> None:
    """`drive` in a cell is an error that names `async for` and `Portal`, word for word as the page has it (A14)."""
    (error,) = outputs(CELLS["drive"])
    assert (error["output_type"], error["ename"]) == ("error", "RunningLoopError")
    assert "`async for`" in error["evalue"]
    assert "use a Portal" in error["evalue"]
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"RunningLoopError: {error['evalue']}" in page


def test_portal_from_cell_to_cell(outputs: Callable[[str], list[dict[str, Any]]]) -> None:
    """A portal stays open between cells, its tasks go on meanwhile (A17), and closing it leaves no thread."""
    assert printed(outputs(CELLS["opened"])) == "ready started\n"
    assert printed(outputs(CELLS["another cell"])) == "True done\n"
    assert printed(outputs(CELLS["closed"])) == "None set()\n"


def test_interrupting_a_cell(outputs: Callable[[str], list[dict[str, Any]]]) -> None:
    """Interrupting a cell that waits for a step cancels the step, awaits its cleanup, and then ends the cell (A10)."""
    (error,) = outputs(CELLS["interrupted"])
    assert (error["output_type"], error["ename"]) == ("error", "KeyboardInterrupt")
    assert printed(outputs(CELLS["after that"])) == "[1, 'CancelledError', 'cleaned up']\n"


def test_page(outputs: Callable[[str], list[dict[str, Any]]]) -> None:
    """Each block of Python in the page about notebooks prints in a notebook what the page says."""
    matches = list(BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    assert len(matches) == 2
    for match in matches:
        assert printed(outputs(match["code"])) == match["output"]


def test_kernel_has_ended(outputs: Callable[[str], list[dict[str, Any]]]) -> None:
    """The kernel's process is gone."""
    text = printed(outputs(CELLS["kernel"]))
    assert re.fullmatch(r"\d+\n", text)
    with pytest.raises(ProcessLookupError):
        os.kill(int(text), 0)
