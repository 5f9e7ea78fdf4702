"""Which library runs here is found without importing one, also while another thread imports it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from asyncgen_tools import Portal, concurrent_map, drive, hosted, in_thread
from tests.ways import numbers


@pytest.mark.parametrize("module", ["trio", "sniffio"])
def test_another_thread_imports_a_library(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """A module that another thread is about to import, and which is empty so far, is in nobody's way (A14)."""

    async def main() -> list[int]:
        items = [item async for item in in_thread([1])]
        async with hosted(numbers()) as generator:
            items += [item async for item in generator]
        async with concurrent_map(abs, [-3], limit=1, executor=executor) as results:
            return items + [item async for item in results]

    with ThreadPoolExecutor() as executor, Portal() as portal:
        assert portal.run(asyncio.sleep, 0, 1) == 1  # imports what anyio needs
        assert asyncio.run(main()) == [1, 1, 2, 3]
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        assert list(portal.drive(numbers())) == [1, 2]
        assert list(portal.drive(numbers(), context=contextvars.Context())) == [1, 2]
        assert list(drive(numbers())) == [1, 2]
        if module == "trio":  # of sniffio, anyio itself is in need
            assert asyncio.run(main()) == [1, 1, 2, 3]
