"""What docs/how-to/check-a-generator-from-the-shell.md checks: a generator that iterates another one, twice.

python -m asyncgen_tools check streams:upper
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def lines() -> AsyncGenerator[str, None]:
    """Lines of a file, say."""
    for line in ("first", "second"):
        await asyncio.sleep(0)
        yield line


async def upper() -> AsyncGenerator[str, None]:
    """The same in capitals, as one writes it first."""
    async for line in lines():
        yield line.upper()


async def upper_closed() -> AsyncGenerator[str, None]:
    """The same, mended."""
    async with aclosing(lines()) as inner:
        async for line in inner:
            yield line.upper()


async def main() -> None:
    """Print both."""
    print([line async for line in upper()], [line async for line in upper_closed()])


if __name__ == "__main__":
    asyncio.run(main())
