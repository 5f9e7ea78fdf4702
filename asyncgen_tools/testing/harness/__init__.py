"""What the checks and the sweeps run code with: fresh event loops, coroutines that are watched, and bounds.

`base.py` says what a check needs of an event loop, and has the bare one; `asyncio_harness.py`, with
`asyncio_scopes.py`, and `trio_harness.py` are the others. `watching.py` drives a coroutine from inside its task,
`watchdog.py` ends what hangs, `bounds.py` runs both.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
