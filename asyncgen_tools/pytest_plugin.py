"""The pytest plugin: fixtures that drive async generators in plain tests, and leak tracking for any async test.

It never runs an `async def` test: who does is for pytest-asyncio, anyio and pytest-trio to decide among themselves.
pytest loads this module in every run of every project that has the package installed, so it imports nothing but pytest
and the standard library's lightest; the testing kit is imported when a test first asks for it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import inspect
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from asyncgen_tools.testing import Backend, Finalization, LeakTracker, TrackedDriver

__all__ = ("BackendMismatchWarning", "LeakWarning", "asyncgen_backend", "asyncgen_driver", "finalization")


class LeakWarning(pytest.PytestWarning):
    """Async generators were left unfinished in a test, whose level is "warn"."""


class BackendMismatchWarning(pytest.PytestWarning):
    """A test asked for a library by `anyio_backend`, and ran on another."""


LEVELS: Final = ("error", "warn", "off")
DEFAULT_BACKENDS: Final = ("asyncio", "trio", "bare")
TRANSCRIPTS: Final = pytest.StashKey[list[Any]]()
SHOWN: Final = 5  # transcripts in a report, the last ones


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option and the ini settings."""
    group = parser.getgroup("asyncgen_tools", "async generators")
    group.addoption(
        "--asyncgen-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="run tests that use the fixture asyncgen_backend on this backend only (may be repeated): asyncio, trio, "
        "bare, uvloop or level.",
    )
    parser.addini("asyncgen_backends", "backends of the fixture asyncgen_backend", type="args", default=[])
    parser.addini("asyncgen_leaks", "what a leaked async generator does to its test: error, warn or off", default="off")
    parser.addini(
        "asyncgen_backend_mismatch",
        "what becomes of a test of the anyio backend that runs on another library: error, warn or off",
        default="warn",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and refuse settings that mean nothing."""
    config.addinivalue_line("markers", "asyncgen_backends(*names): the backends of the fixture asyncgen_backend.")
    config.addinivalue_line(
        "markers",
        'asyncgen_leaks("error" | "warn" | "off"): what a leaked async generator does to this test.',
    )
    for names, where in (
        (config.getini("asyncgen_backends"), "the ini setting asyncgen_backends"),
        (config.option.asyncgen_backend, "--asyncgen-backend"),
    ):
        if names:  # or the kit would be imported in every run
            check_backends(names, where)
    for setting in ("asyncgen_leaks", "asyncgen_backend_mismatch"):
        check_level(config.getini(setting), f"the ini setting {setting}")


def check_backends(names: Sequence[str], where: str) -> None:
    """Refuse names of backends that there are not.

    Raises:
        UsageError: says where the name stands and which names there are.
    """
    from asyncgen_tools.errors import UnknownBackendError
    from asyncgen_tools.testing import get_backend

    for name in names:
        try:
            get_backend(name)
        except UnknownBackendError as exc:
            raise pytest.UsageError(f"{where}: {exc}") from exc


def check_level(level: object, where: str) -> str:
    """Refuse what is not "error", "warn" or "off".

    Raises:
        UsageError: says where it stands.
    """
    if level not in LEVELS:
        raise pytest.UsageError(f"{where}: there is no level {level!r}. Write one of: {', '.join(LEVELS)}.")
    return str(level)


# Parametrisation ---------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise the tests that use `asyncgen_backend`; look at the arguments of our markers."""
    for marker in metafunc.definition.iter_markers("asyncgen_leaks"):
        leak_level(marker)
    if "asyncgen_backend" not in metafunc.fixturenames or is_parametrised(metafunc):
        return
    metafunc.parametrize("asyncgen_backend", list(backend_parameters(metafunc)), indirect=True, scope="session")


def is_parametrised(metafunc: pytest.Metafunc) -> bool:
    """Whether the test itself says which values `asyncgen_backend` has."""
    return any("asyncgen_backend" in str(marker.args[:1]) for marker in metafunc.definition.iter_markers("parametrize"))


def named_backends(metafunc: pytest.Metafunc, marker: pytest.Mark) -> list[str]:
    """The arguments of the marker `asyncgen_backends`, each once.

    Raises:
        UsageError: there are none, or one is no backend.
    """
    where = f"the marker asyncgen_backends of {metafunc.definition.nodeid}"
    if not marker.args:
        raise pytest.UsageError(
            f"{where} names no backend, so that the test would never run. Write the names of those that it is for, "
            '@pytest.mark.asyncgen_backends("asyncio", "trio"), or leave the marker out.'
        )
    check_backends(marker.args, where)
    return list(dict.fromkeys(marker.args))


def backend_parameters(metafunc: pytest.Metafunc) -> Iterator[Any]:
    """One parameter for each backend of a test, skipped with its reason where it cannot run.

    The marker says what the test is for, the command line what is wanted now, the ini setting what is usual.
    """
    from asyncgen_tools.testing import get_backend

    config = metafunc.config
    wanted: Sequence[str] = config.option.asyncgen_backend
    names: Sequence[str] = list(dict.fromkeys(wanted or config.getini("asyncgen_backends") or DEFAULT_BACKENDS))
    marker = metafunc.definition.get_closest_marker("asyncgen_backends")
    if marker is not None:
        usual = named_backends(metafunc, marker)
        names = [name for name in usual if name in wanted or not wanted]
        if not names:
            reason = f"this test is for {', '.join(usual)}, which --asyncgen-backend leaves out"
            yield pytest.param("none", id="none", marks=pytest.mark.skip(reason=reason))
    for name in names:
        missing = get_backend(name).missing
        marks = () if missing is None else (pytest.mark.skip(reason=missing),)
        yield pytest.param(name, id=name, marks=marks)


# Fixtures ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def asyncgen_backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn: `.name`, `.run(async_function, *args)`, `.drive(source)`, `.runner()`, `.checkpoint()`."""
    from asyncgen_tools.testing import get_backend

    name = getattr(request, "param", None)
    if name is None:
        raise pytest.UsageError(
            "asyncgen_backend was asked for while the test ran, when it could no longer be parametrised. Make it an "
            "argument of the test or of one of its fixtures."
        )
    return get_backend(name)


@pytest.fixture
def asyncgen_driver(asyncgen_backend: Backend) -> Generator[TrackedDriver]:
    """Called with an async generator it gives a SyncGenerator on the backend; closes it, and fails the test on a leak.

    What a cleanup raises fails the test, too, whether this closes the generator, or the test drops it.

    `asyncgen_driver(source, virtual_time=True)` for a generator that sleeps.
    """
    from asyncgen_tools.testing import TrackedDriver

    with TrackedDriver(asyncgen_backend) as driver:
        yield driver


@pytest.fixture
def finalization(asyncgen_driver: TrackedDriver) -> Generator[Finalization]:
    """Holds every generator first iterated in the test: `.close(order)` closes them, `.orders()` gives all orders."""
    from asyncgen_tools.testing import Finalization

    with Finalization(asyncgen_driver) as held:
        yield held


# Running a test ----------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Record what is driven in a test that uses our fixtures."""
    if "asyncgen_backend" not in getattr(item, "fixturenames", ()):
        return (yield)
    from asyncgen_tools.testing import record_transcripts

    with record_transcripts() as transcripts:
        item.stash[TRANSCRIPTS] = transcripts
        try:
            return (yield)
        finally:
            del item.stash[TRANSCRIPTS]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the transcripts to the report of a failure."""
    report = yield
    transcripts: list[Any] = item.stash.get(TRANSCRIPTS, list[Any]())
    if report.failed and transcripts:
        left_out = len(transcripts) - SHOWN
        parts = [f"({left_out} more before)"] if left_out > 0 else []
        report.sections.append(("async generators", "\n".join([*parts, *map(str, transcripts[-SHOWN:])])))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Look for leaks in the call of a test, and for a test that runs on another library than it asked for."""
    __tracebackhide__ = True
    marker = item.get_closest_marker("asyncgen_leaks")
    level = item.config.getini("asyncgen_leaks") if marker is None else leak_level(marker)
    driver: TrackedDriver | None = getattr(item, "funcargs", {}).get("asyncgen_driver")
    trackers: list[LeakTracker] = []
    with ExitStack() as stack:
        test: Any = getattr(item, "obj", None)
        handle = getattr(test, "hypothesis", None)
        # anyio leaves its own wrapper in the handle, with the test in this attribute.
        inner: Any = test if handle is None else handle.inner_test
        inner = getattr(inner, "_anyio_original_func", inner)
        if inspect.iscoroutinefunction(inner):
            stack.callback(stop_all, trackers)
            test = watched(inner, item, level, later=trackers if handle is None and cleans_up(item) else None)
            for place, name in homes_of(item):
                stack.callback(setattr, place, name, getattr(place, name))
                setattr(place, name, test)
        elif level != "off" and driver is None:  # whose own tracker sees more
            from asyncgen_tools.testing import track_async_generators

            trackers.append(stack.enter_context(track_async_generators(hooks=False)))
        result = yield
        if driver is not None:
            driver.close()
    if driver is not None:
        judge(driver.tracker, "error" if marker is None else level)
    for tracker in trackers:
        judge(tracker, level)
    return result


def cleans_up(item: pytest.Item) -> bool:
    """Whether cleanup of the test, in its own event loop, is a part of its call: in unittest and in pytest-trio it is.

    pytest-asyncio and anyio clean up later, in the teardown of their fixtures, and keep the loop for other tests.
    """
    by_trio = item.config.pluginmanager.hasplugin("trio") and item.get_closest_marker("trio") is not None
    return by_trio or is_unittest(item)


def is_unittest(item: pytest.Item) -> bool:
    """Whether it is a test of a unittest.TestCase."""
    return hasattr(getattr(item, "instance", None), "countTestCases")


def stop_all(trackers: list[LeakTracker]) -> None:
    """Stop trackers that were postponed."""
    for tracker in trackers:
        tracker.stop()


def homes_of(item: pytest.Item) -> Iterator[tuple[Any, str]]:
    """The objects and attributes in which whoever runs an async test finds it; other tests may share the object."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is not None:
        yield handle, "inner_test"
        return
    yield item, "obj"
    if is_unittest(item):  # which finds it by itself
        yield item.instance, item.name  # type: ignore[attr-defined]


def leak_level(marker: pytest.Mark) -> str:
    """The argument of the marker `asyncgen_leaks`.

    Raises:
        UsageError: it is not one level.
    """
    level: object = marker.args[0] if len(marker.args) == 1 else marker.args
    return check_level(level, "the marker asyncgen_leaks")


def watched(
    test: Callable[..., Any], item: pytest.Item, level: str, *, later: list[LeakTracker] | None
) -> Callable[..., Any]:
    """An async test, watched from inside of the event loop that runs it.

    Args:
        test: the test.
        item: the same to pytest.
        level: what a leak does to it.
        later: takes the tracker if what is still open then may be closed by the test's own cleanup.
    """

    @functools.wraps(test)
    async def watched_test(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        check_library(item)
        if level == "off":
            return await test(*args, **kwargs)
        from asyncgen_tools.testing import track_async_generators

        with track_async_generators() as tracker:
            result = await test(*args, **kwargs)
            if later is not None and tracker.unfinished() and not tracker.report():
                tracker.postpone()
                later.append(tracker)
                return result
        judge(tracker, level)
        return result

    return watched_test


def judge(tracker: LeakTracker, level: str) -> None:
    """Fail the test, or warn, if something was found."""
    __tracebackhide__ = True
    if level == "error":
        tracker.check()
    elif level == "warn" and tracker.report():
        warnings.warn(tracker.report(), LeakWarning, stacklevel=2)


def check_library(item: pytest.Item) -> None:
    """Fail the test, or warn, if it is parametrised by `anyio_backend` and runs on the other library."""
    __tracebackhide__ = True
    backend: Any = getattr(item, "funcargs", {}).get("anyio_backend")
    level = item.config.getini("asyncgen_backend_mismatch")
    if backend is None or level == "off":
        return
    from asyncgen_tools.loops.admission import running_library

    expected, actual = backend if isinstance(backend, str) else backend[0], running_library()
    if actual in {None, expected}:
        return
    message = (
        f"{item.nodeid} asks for anyio_backend {expected!r}, but runs on {actual}: another plugin has taken it, as "
        "pytest-asyncio does with asyncio_mode=auto, and it proves nothing. Set asyncio_mode=strict, or silence this "
        "with the ini setting asyncgen_backend_mismatch."
    )
    if level == "error":
        pytest.fail(message, pytrace=False)
    warnings.warn(message, BackendMismatchWarning, stacklevel=2)
