"""Drive async generators from synchronous code, delegate between them, bridge the rest, and test them.

PYTEST_DONT_REWRITE
"""

# The map of the package:
#
#   drive, driven, Runner   runner.py          async generators in plain `for` loops, in the calling thread
#   Portal                  portal.py          the same over an event loop in a thread of its own, from any thread
#   SyncGenerator           sync_generator.py  what they give: a generator to every observer
#   hosted                  hosted.py          an async generator in one task of the running loop, whoever steps it
#   in_thread               threads.py         a sync generator in one worker thread, for async code
#   delegating, yield_from  delegation.py      PEP 828 today: async generators that delegate and return values
#   concurrent_map          concurrency.py     calls for a source's items, a few at a time (crew.py, calls.py)
#   stop_value, Step, ...   steps.py           one command to a generator and what came of it
#   the errors              errors.py
#   the Protocols           protocols.py
#
#   host.py is the one task in which a generator lives; loops/ runs an event loop in slices from the calling thread,
#   or in a thread of its own.
#
# The names are resolved on first use (PEP 562): pytest imports this package in every run of every project that has it
# installed, so the front door loads nothing.

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing's own would load typing, which costs more than all the rest of this
if TYPE_CHECKING:
    from types import ModuleType

    from asyncgen_tools.concurrency import concurrent_map as concurrent_map
    from asyncgen_tools.delegation import (
        AsAsyncGenerator as AsAsyncGenerator,
        AsAsyncIterator as AsAsyncIterator,
        delegating as delegating,
        set_return_value as set_return_value,
        yield_from as yield_from,
    )
    from asyncgen_tools.hosted import hosted as hosted
    from asyncgen_tools.portal import Portal as Portal
    from asyncgen_tools.runner import Runner as Runner, drive as drive, driven as driven
    from asyncgen_tools.steps import stop_value as stop_value
    from asyncgen_tools.sync_generator import SyncGenerator as SyncGenerator
    from asyncgen_tools.threads import in_thread as in_thread
else:
    ModuleType = type(sys)

__all__ = (
    "AsAsyncGenerator",
    "AsAsyncIterator",
    "Portal",
    "Runner",
    "SyncGenerator",
    "concurrent_map",
    "delegating",
    "drive",
    "driven",
    "hosted",
    "in_thread",
    "set_return_value",
    "stop_value",
    "yield_from",
)

_HOMES = {
    "AsAsyncGenerator": "delegation",
    "AsAsyncIterator": "delegation",
    "Portal": "portal",
    "Runner": "runner",
    "SyncGenerator": "sync_generator",
    "concurrent_map": "concurrency",
    "delegating": "delegation",
    "drive": "runner",
    "driven": "runner",
    "hosted": "hosted",
    "in_thread": "threads",
    "set_return_value": "delegation",
    "stop_value": "steps",
    "yield_from": "delegation",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


class _FrontDoor(ModuleType):
    """A package in which a name means what `__all__` says, also when a module has that name, as `hosted` does."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):  # the import system puts each module there
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
