"""What generators on the shelf await: something that suspends once, on whatever they run on."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

from asyncgen_tools.loops.bare_loop import checkpoint as bare_checkpoint

__all__ = ("checkpoint", "checkpoint_shielded", "library")


def library() -> Literal["asyncio", "trio", "bare"]:
    """What the current code runs on."""
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return "trio"
    return "bare" if asyncio._get_running_loop() is None else "asyncio"


async def checkpoint() -> None:
    """Suspend once, where cancellation is delivered."""
    match library():
        case "asyncio":
            await asyncio.sleep(0)
        case "trio":
            import trio

            await trio.lowlevel.checkpoint()
        case "bare":
            await bare_checkpoint()


async def checkpoint_shielded() -> None:
    """Suspend once; no cancellation is delivered there, as in cleanup that is written well."""
    if library() == "bare":
        await bare_checkpoint()
        return
    import anyio

    with anyio.CancelScope(shield=True):
        await anyio.sleep(0)
