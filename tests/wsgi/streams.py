"""What the views of the applications in this folder stream, and what their workers tell of themselves."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: More than any client reads before it goes away, and few enough that a worker which nobody stops comes to an end.
MANY = 100_000


async def story(gate: int) -> AsyncGenerator[bytes, None]:
    """A first line; when the one who listens at the port `gate` says so, many more; and to that one, how it ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate)
    end = "was dropped"
    try:
        yield b"first\n"
        if await reader.readline() == b"the end\n":
            yield b"last\n"
        else:
            for number in range(MANY):
                await asyncio.sleep(0)
                yield b"%d\n" % number
        end = "ended"
    except GeneratorExit:
        end = "was closed"
        raise
    finally:
        await asyncio.sleep(0)
        writer.write(f"{end} in {os.getpid()}\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def numbers(count: int) -> AsyncGenerator[bytes, None]:
    """So many lines, under a time limit and in a task group that are held over every yield."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(count):
            await group.create_task(asyncio.sleep(0))
            yield b"%d\n" % number


async def broken(after: int) -> AsyncGenerator[bytes, None]:
    """So many lines, and then an error."""
    for number in range(after):
        yield b"%d\n" % number
    await asyncio.sleep(0)
    raise RuntimeError(f"broken after {after}")


def worker() -> dict[str, str]:
    """A header that tells which process answers."""
    return {"Worker": str(os.getpid())}


def report() -> dict[str, int]:
    """What there is of this process: threads, open file descriptors, resident memory in KiB, objects alive."""
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {
        "threads": int(status["Threads"]),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  # iterdir() would hold one more
        "resident": int(status["VmRSS"].split()[0]),
        "objects": len(gc.get_objects()),
    }
