"""The soak test of tests/soak works: here for seconds, with the same seed each time; `tox -e soak` for ten minutes."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.children import CHECKOUT, run_child

#: All but Ctrl-C, whose moment no seed decides.
KINDS = (
    *("one", "several", "expiring", "closed_elsewhere", "contended"),
    *("in_a_loop", "garbage", "fork", "fork_in_a_step", "threads"),
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.timeout(150)
def test_soak() -> None:
    """Traffic of every kind over every backend that is installed leaks nothing, hangs nowhere, and gives what it should
    (A18).
    """
    arguments = ["--seconds", "0", "--seed", "1", "--actions", "20", *(f"--only={kind}" for kind in KINDS)]
    script = f"""
    import runpy, sys
    sys.argv[1:] = {arguments!r}
    sys.path.insert(0, {str(CHECKOUT)!r})
    runpy.run_module("tests.soak", run_name="__main__", alter_sys=True)
    """
    child = run_child(script, seconds=120)
    assert (child.status, child.err) == (0, []), "\n".join(child.out)
    assert child.out[0] == f"Python {sys.version.split()[0]}, seed 1, 0 s"
    assert re.fullmatch(r"round 3, \d+ s: .* threads, .* MiB", child.out[4])
    assert re.fullmatch(r"passed: 80 actions in \d+ s", child.out[-1])
