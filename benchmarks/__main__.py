"""The command line: `python -m benchmarks [--write PAGE]`."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks import page, results
from benchmarks.libraries import installed_libraries
from benchmarks.measure import Effort, progress

QUICK = Effort(seconds=0.005, rounds=1, part=0.01)


def parsed() -> tuple[argparse.Namespace, Effort]:
    """What is asked for, and with how much effort."""
    full = Effort()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what a step costs.")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--write", type=Path, metavar="PAGE", help="put tables and plots into this page")
    target.add_argument(
        "--redraw", type=Path, metavar="PAGE", help="the same with the page's own figures: measure nothing"
    )
    target.add_argument(
        "--only", nargs="+", choices=results.PARTS, default=[*results.PARTS], help="measure these parts"
    )
    parser.add_argument("--seconds", type=float, default=full.seconds, help="of each turn (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=full.rounds, help="of which the best counts (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="see that it works: the figures say little")
    options = parser.parse_args()
    goal = options.write or options.redraw
    if goal and not find_spec("matplotlib"):
        parser.error("the plots need matplotlib: `tox -e benchmarks` has it, as has the dependency group `picture`")
    try:
        if goal:  # found out now, not after minutes
            page.rendered(goal, {})
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return options, QUICK if options.quick else Effort(options.seconds, options.rounds)


def main() -> None:
    """Measure, print, and write where that is asked for."""
    options, effort = parsed()
    if options.redraw:
        page.write(options.redraw)
        return
    result = results.measure([*installed_libraries()], effort, options.only)
    progress("measured")
    python = results.python_version()
    print(page.section(python, result))
    if options.write:
        file = page.results_file(options.write)
        results.save(file, {**results.load(file), python: result})
        page.write(options.write)
        print(f"written: {options.write}, and {page.folder(options.write)}", file=sys.stderr)


if __name__ == "__main__":
    main()
