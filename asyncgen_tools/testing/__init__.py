"""Test async generators: checks, sweeps, virtual time, leaks, transcripts. Needs neither pytest nor hypothesis.

PYTEST_DONT_REWRITE
"""

# The map of the kit:
#
#   Backend, get_backend, ...     backends.py      the rows of a test: asyncio, trio, bare, uvloop, level
#   virtual_time                  clocks.py        hours of sleep in no time, as `backend_options`
#   track_async_generators, ...   leaks.py         which generators were left unfinished, and where
#   record_transcripts, ...       transcripts.py   what was done to each driven generator, and what came of it
#   TrackedDriver, Finalization   driving.py       one loop for a test's generators: all closed, every leak found
#   Program, Script               programs.py      bodies as data, run as sync, async and delegating generators
#   Yield, Try..., With, ...      statements.py    what a body consists of, and its source
#   record, arecord, Trace        traces.py        what came of each operation on a generator
#   assert_same_trace, ...        differences.py   comparing traces; how CPython's sync and async generators differ
#   Place                         places.py        a line of the user's code
#   check_async_generator         conformance.py   does it behave as an async generator should? The checks: checks/
#   sweep_cancellation            cancellation.py  is it safe to cancel, wherever it waits?
#   sweep_close                   closing.py       does it clean up, wherever it is left?
#   SweepReport, SweepPoint       sweeps.py        what the sweeps give
#
#   harness/ is what checks and sweeps run code with: fresh event loops, watched coroutines, bounds.
#
# The names are resolved on first use, as those of the package are.

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncgen_tools.testing.backends import (
        Backend as Backend,
        get_backend as get_backend,
        installed_backends as installed_backends,
    )
    from asyncgen_tools.testing.cancellation import sweep_cancellation as sweep_cancellation
    from asyncgen_tools.testing.clocks import virtual_time as virtual_time
    from asyncgen_tools.testing.closing import sweep_close as sweep_close
    from asyncgen_tools.testing.conformance import (
        Verdict as Verdict,
        check_async_generator as check_async_generator,
    )
    from asyncgen_tools.testing.differences import DIFFERENCES as DIFFERENCES, assert_same_trace as assert_same_trace
    from asyncgen_tools.testing.driving import Finalization as Finalization, TrackedDriver as TrackedDriver
    from asyncgen_tools.testing.leaks import (
        Leak as Leak,
        LeakKind as LeakKind,
        LeakTracker as LeakTracker,
        track_async_generators as track_async_generators,
    )
    from asyncgen_tools.testing.places import Place as Place
    from asyncgen_tools.testing.programs import Program as Program, Script as Script
    from asyncgen_tools.testing.sweeps import (
        Ending as Ending,
        SweepPoint as SweepPoint,
        SweepReport as SweepReport,
    )
    from asyncgen_tools.testing.traces import (
        Notes as Notes,
        Trace as Trace,
        TraceStep as TraceStep,
        arecord as arecord,
        record as record,
    )
    from asyncgen_tools.testing.transcripts import (
        Entry as Entry,
        Transcript as Transcript,
        record_transcripts as record_transcripts,
    )

__all__ = (
    "DIFFERENCES",
    "Backend",
    "Ending",
    "Entry",
    "Finalization",
    "Leak",
    "LeakKind",
    "LeakTracker",
    "Notes",
    "Place",
    "Program",
    "Script",
    "SweepPoint",
    "SweepReport",
    "Trace",
    "TraceStep",
    "TrackedDriver",
    "Transcript",
    "Verdict",
    "arecord",
    "assert_same_trace",
    "check_async_generator",
    "get_backend",
    "installed_backends",
    "record",
    "record_transcripts",
    "sweep_cancellation",
    "sweep_close",
    "track_async_generators",
    "virtual_time",
)

_HOMES = {
    "DIFFERENCES": "differences",
    "Backend": "backends",
    "Ending": "sweeps",
    "Entry": "transcripts",
    "Finalization": "driving",
    "Leak": "leaks",
    "LeakKind": "leaks",
    "LeakTracker": "leaks",
    "Notes": "traces",
    "Place": "places",
    "Program": "programs",
    "Script": "programs",
    "SweepPoint": "sweeps",
    "SweepReport": "sweeps",
    "Trace": "traces",
    "TraceStep": "traces",
    "TrackedDriver": "driving",
    "Transcript": "transcripts",
    "Verdict": "conformance",
    "arecord": "traces",
    "assert_same_trace": "differences",
    "check_async_generator": "conformance",
    "get_backend": "backends",
    "installed_backends": "backends",
    "record": "traces",
    "record_transcripts": "transcripts",
    "sweep_cancellation": "cancellation",
    "sweep_close": "closing",
    "track_async_generators": "leaks",
    "virtual_time": "clocks",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
