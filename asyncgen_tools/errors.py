"""Every exception class of the library.

One base, and each class is also the built-in that a caller would catch. A message has three parts: what happened, with
the value; why it cannot work; what to write instead. Errors of a generator's own body are never wrapped in these.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncgen_tools.testing.places import Place
    from asyncgen_tools.testing.sweeps import SweepReport

__all__ = (
    "ArgumentTypeError",
    "ArgumentValueError",
    "AsyncgenToolsError",
    "BareSuspensionError",
    "ClosedError",
    "ConformanceError",
    "ContextError",
    "CopyError",
    "DelegationError",
    "ForkError",
    "FunctionTypeError",
    "HangError",
    "LeakError",
    "MissingLibraryError",
    "NoEventLoopError",
    "NotEnteredError",
    "NotReturnedError",
    "PrefetchError",
    "ReusedError",
    "RunningLoopError",
    "SourceTypeError",
    "StepCancelledError",
    "StepTimeoutError",
    "SweepError",
    "TraceError",
    "UncheckableError",
    "UnknownBackendError",
    "UnsupportedStepError",
    "WrongLoopError",
    "WrongThreadError",
)


class AsyncgenToolsError(Exception):
    """The base of all errors that this library raises on its own account."""


class SourceTypeError(AsyncgenToolsError, TypeError):
    """Something that is not an async generator, async iterator or async iterable was handed over as a source."""


class FunctionTypeError(AsyncgenToolsError, TypeError):
    """A function of the wrong kind, or something that is none, was handed over to be called."""


class ArgumentTypeError(AsyncgenToolsError, TypeError):
    """An option has a value of a type that means nothing there, or there is no such option."""


class ArgumentValueError(AsyncgenToolsError, ValueError):
    """An option has a value that means nothing there: a negative time, a limit of 0, a check that there is not."""


class CopyError(AsyncgenToolsError, TypeError):
    """Something that exists once was to be copied or pickled."""


class UnsupportedStepError(AsyncgenToolsError, AttributeError):
    """A step needs `asend` or another method of an async generator, and the source has none."""


class RunningLoopError(AsyncgenToolsError, RuntimeError):
    """An event loop is already running in this thread: a second one cannot be run in it, nor its portal waited for."""


class PrefetchError(AsyncgenToolsError, RuntimeError):
    """A value was sent to, or an exception thrown into, a generator that runs ahead of its consumer (`prefetch`)."""


class WrongThreadError(AsyncgenToolsError, RuntimeError):
    """A runner, or a generator driven by it, was used in another thread than its own."""


class ContextError(AsyncgenToolsError, RuntimeError):
    """The `context` of a generator is in use by its caller."""


class ForkError(AsyncgenToolsError, RuntimeError):
    """A runner, or a generator driven by it, was made before a fork and used in the child."""


class TraceError(AsyncgenToolsError, AssertionError):
    """Two traces of generators differ."""


class LeakError(AsyncgenToolsError, AssertionError):
    """Async generators were left unfinished, or failed while they were finalised."""


class ReusedError(AsyncgenToolsError, RuntimeError):
    """A context manager that serves once was entered again."""


class ClosedError(AsyncgenToolsError, RuntimeError):
    """Something was used after its end: a runner or portal, results after their block, a generator closed elsewhere."""


class UnknownBackendError(AsyncgenToolsError, LookupError):
    """The name of a backend is not one that this library knows."""


class MissingLibraryError(AsyncgenToolsError, ImportError):
    """A backend needs a library that is not installed, or one of another version."""


class BareSuspensionError(AsyncgenToolsError, RuntimeError):
    """A step on the `bare` backend waited for something; without an event loop nothing could ever wake it."""


class StepTimeoutError(AsyncgenToolsError, TimeoutError):
    """A step took longer than the `timeout` given to `drive`; it was cancelled and its cleanup awaited."""


class DelegationError(AsyncgenToolsError, RuntimeError):
    """`yield_from` or `set_return_value` was awaited where no delegating generator could take notice of it."""


class NotReturnedError(AsyncgenToolsError, RuntimeError):
    """The return value of a generator was read that has not ended, or that did not end by returning."""


class NoEventLoopError(AsyncgenToolsError, RuntimeError):
    """Something that waits was awaited where no task of asyncio or trio runs."""


class WrongLoopError(AsyncgenToolsError, RuntimeError):
    """A hosted generator was stepped from another event loop than the one its task lives in."""


class NotEnteredError(AsyncgenToolsError, TypeError):
    """An async context manager was used without `async with`."""


class StepCancelledError(AsyncgenToolsError, RuntimeError):
    """A step, or a call of concurrent_map, was cancelled on account of another task than the one that waits for it."""


class ConformanceError(AsyncgenToolsError, AssertionError):
    """An async generator does not behave as `check_async_generator` expects.

    Attributes:
        code: of the check, such as "leak".
        backend: the row of the kit that it ran on.
        step: what was done to the generator when it showed.
        place: the line of the user's code, or None.
    """

    code: str = ""
    backend: str = ""
    step: str = ""
    place: Place | None = None


class HangError(TimeoutError, ConformanceError):  # in this order, or `HangError.__new__` would be AssertionError's
    """Code under test took longer than it may; `place` says where it hangs."""


class SweepError(AsyncgenToolsError, AssertionError):
    """At some points of a sweep something went wrong.

    Attributes:
        report: what happened at every point.
    """

    report: SweepReport | None = None


class UncheckableError(AsyncgenToolsError, ValueError):
    """A generator cannot be checked on a backend: it never yields there, fails at once, or the next one is unlike."""
