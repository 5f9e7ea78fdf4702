"""The command line: `python -m benchmarks.comparison [--write PAGE | --check PAGE | --cell ...]`."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import repeat
from pathlib import Path

from benchmarks.comparison import collecting, delegating, driving, owning, testing, threading
from benchmarks.comparison.asking import Topic, answer, is_installed
from benchmarks.measure import Table

TOPICS: dict[str, Topic] = {
    "driving": driving.TOPIC,
    "threading": threading.TOPIC,
    "delegating": delegating.TOPIC,
    "owning": owning.TOPIC,
    "collecting": collecting.TOPIC,
    "testing": testing.TOPIC,
}
DISTRIBUTIONS = (
    "aiostream",
    "anyio",
    "asgiref",
    "async_generator",
    "asyncer",
    "asyncstdlib",
    "greenback",
    "hypothesis",
    "pytest-asyncio",
    "pytest-trio",
    "synchronicity",
    "trio",
)
BEGIN, END = "<!-- answers -->\n", "<!-- end of answers -->\n"
SECONDS = 60


def asked(topic: str, question: str, contender: str) -> str:
    """One cell, asked in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.comparison", "--cell", topic, question, contender]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "no: it hangs"
    last = completed.stdout.splitlines()[-1:] or [""]
    return last[0].removeprefix("answer: ") if last[0].startswith("answer: ") else f"no: exit {completed.returncode}"


def tables() -> str:
    """Every topic as a table: a line for each contender, a column for each question."""
    texts: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, topic in TOPICS.items():
            rows = [
                [contender, *pool.map(asked, repeat(name), topic.questions, repeat(contender))]
                for contender in topic.contenders
                if is_installed(contender)
            ]
            table = str(Table(topic.title, ["", *topic.questions], rows))
            texts.append(table.replace("\n\n", f"\n\n{topic.about}\n\n", 1))
    versions = ", ".join(f"{name} {version(name)}" for name in DISTRIBUTIONS)
    return "\n".join(["## The answers\n", f"Asked of {versions}, on CPython {platform.python_version()}.\n", *texts])


def main() -> int:
    """Ask, print, and write or compare where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the answers into this page")
    parser.add_argument("--check", type=Path, metavar="PAGE", help="exit with 1 unless the page has these answers")
    parser.add_argument("--cell", nargs=3, metavar=("TOPIC", "QUESTION", "CONTENDER"), help="ask one question, here")
    options = parser.parse_args()
    if options.cell:
        topic, question, contender = options.cell
        print(f"answer: {answer(TOPICS[topic], question, contender)}", flush=True)
        os._exit(0)  # a contender may have left a thread that never ends
    text = tables()
    print(text)
    page: Path | None = options.write or options.check
    if page is None:
        return 0
    before = page.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    now = f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
    if options.write:
        page.write_text(now, encoding="utf-8")
        return 0
    # Versions move on; answers should not.
    same = [line for line in before.splitlines() if "|" in line] == [line for line in now.splitlines() if "|" in line]
    print("the page has these answers" if same else f"{page} has other answers")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
