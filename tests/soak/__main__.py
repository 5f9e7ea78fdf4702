"""The soak test: `python -m tests.soak [--seconds N] [--seed N] ...`. Random traffic over every backend, for long.

Each action is a small piece of traffic (`*_traffic.py`) that checks its own results. After each round of actions
everything is counted (`measures.py`), and nothing may be more than after the first rounds; over the second half, memory
may not grow. An action that hangs ends the run, with the stacks of all threads. The exit code is 0 if all is well.
"""

from __future__ import annotations

import argparse
import faulthandler
import statistics
import sys
import time
import traceback
from random import Random, randrange
from typing import TYPE_CHECKING, Final

from tests.soak.main_traffic import ACTIONS
from tests.soak.measures import Measures, left_threads, settle
from tests.soak.world import World
from tests.thread_state import traces

if TYPE_CHECKING:
    from tests.soak.world import Action

#: Rounds in which everything is made that is made once.
WARM_UP: Final = 3
#: How many seconds an action may take.
PATIENCE: Final = 150
#: How many rounds tell a trend, and what memory may grow by over them: in blocks of Python's, and resident.
ENOUGH: Final = 20
BLOCKS: Final = 5_000
MEBIBYTES: Final = 8


def main() -> int:
    """Soak for as long as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the first round; each further one adds 1")
    parser.add_argument("--actions", type=int, default=100, help="in a round (%(default)s)")
    names = {action.__name__: action for action in ACTIONS}
    parser.add_argument("--only", action="append", choices=names, help="one kind of traffic; may be repeated")
    options = parser.parse_args()
    seed = randrange(10**9) if options.seed is None else options.seed
    chosen = {names[name]: 1 for name in options.only} if options.only else ACTIONS
    print(f"Python {sys.version.split()[0]}, seed {seed}, {options.seconds:.0f} s", flush=True)
    return soak(options.seconds, seed, chosen, size=options.actions)


def soak(seconds: float, seed: int, actions: dict[Action, int], *, size: int) -> int:
    """Go on until the time is up, or something is wrong.

    Args:
        seconds: the time.
        seed: of the first round.
        actions: what is done, and how often in proportion.
        size: how many actions a round has.

    Returns:
        The exit code.
    """
    world = World()
    began = time.monotonic()
    history: list[tuple[int, int]] = []
    baseline: Measures | None = None
    wrong: list[str] = []
    number = 0
    while not wrong and (time.monotonic() - began < seconds or number <= WARM_UP):
        wrong = run_round(world, Random(seed + number), actions, size)
        if not wrong:
            found, excess = settle(baseline if number >= WARM_UP else None, world.tasks)
            wrong = [*excess, *world.complaints.found()]
            if number < WARM_UP:
                baseline = found
            else:
                history.append((found.blocks, found.resident))
            print(f"round {number}, {time.monotonic() - began:.0f} s: {found}", flush=True)
        number += 1
    if not wrong:
        world.close()
        wrong = [*world.complaints.found(), *left_threads(), *trend(history)]
    faulthandler.cancel_dump_traceback_later()
    for problem in wrong:
        print(f"round {number - 1}, seed {seed + number - 1}: {problem}")
    done = size * number
    print(f"{'FAILED' if wrong else 'passed'}: {done:,} actions in {time.monotonic() - began:.0f} s", flush=True)
    return 1 if wrong else 0


def run_round(world: World, rng: Random, actions: dict[Action, int], size: int) -> list[str]:
    """Take a round of actions; what went wrong."""
    for action in rng.choices([*actions], [*actions.values()], k=size):
        own = Random(rng.random())
        backend = own.choice(world.backends)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            action(world, own, backend)
        except BaseException:
            return [f"{action.__name__} on {backend.id}:\n{traceback.format_exc()}"]
        # A current task may be that of a portal's loop.
        found = [trace for trace in traces() if not trace.startswith("a current task")] + world.complaints.found()
        if found:
            return [f"after {action.__name__} on {backend.id}: {problem}" for problem in found]
    return []


def trend(history: list[tuple[int, int]]) -> list[str]:
    """What has grown over the second half of the run, by the slope of a straight line through it.

    In the first half threads and pools of memory come up to the number that the traffic needs.
    """
    history = history[len(history) // 2 :]
    if len(history) < ENOUGH:
        return []
    wrong: list[str] = []
    for name, values, bound in zip(("blocks", "MiB"), zip(*history, strict=True), (BLOCKS, MEBIBYTES), strict=True):
        growth = statistics.linear_regression(range(len(values)), values).slope * len(values)
        print(f"memory: {values[0]:,} {name} half-way, {values[-1]:,} in the end; trend {growth:+,.0f}")
        if growth > bound:
            wrong.append(f"memory grew by {growth:,.0f} {name}, more than {bound:,}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
