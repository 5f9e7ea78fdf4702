"""Mutation testing: which of cosmic-ray's mutants of a module its tests kill (`tox -e mutation`; CONTRIBUTING.md).

    python tests/mutation.py [MODULE[:LINE]]... [--sample N --seed S] [--jobs N]

The operators are cosmic-ray's; its way of running tests, a new interpreter for each mutant, is not, because most of the
time would go into imports: here each run is a fork of a process that has imported what the tests need, but for the
package. A mutant is written into a copy of the checkout, never into the checkout itself. It meets first the tests that
are measured to reach its line, then the others that are for its module; a failing test kills it, and so does a hang.

Not made are mutants that the compiler refuses, and those that differ from the original or from another mutant only in
what does not run: annotations, overloads, blocks for type checkers, and `not (a is b)` beside `a is not b`. Of the
replacements of a comparison only its negation and its boundary are made; of an arithmetic operator, one.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import functools
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).parent.parent
MODULES: Final = sorted(
    path.relative_to(CHECKOUT / "asyncgen_tools").with_suffix("").as_posix()
    for pattern in ("deleg*", "host", "sync_generator", "runner", "base_driver", "portal", "loops/*")
    for path in CHECKOUT.glob(f"asyncgen_tools/{pattern}.py")
)
#: Modules, and the tests that are for them, the fast ones first.
TESTS: Final = {
    "delegat": "delegation_chain delegation_yield_from delegating_generator delegation delegation_*",
    "host": "host sync_generator host_cancellation sync_generator_errors sync_generator_sources threads"
    " loops_sliced_drop",
    "sync_generator": "sync_generator sync_generator_errors sync_generator_sources host portal_threads"
    " sync_generator_twins",
    "runner": "runner runner_driven base_driver host loops_sliced loops_sliced_drop",
    "base_driver": "base_driver runner portal",
    "portal": "portal portal_rare portal_threads portal_prefetch portal_ends",
    "loops/[a-z_]*background": "portal portal_rare portal_threads portal_prefetch host_cancellation portal_ends",
    "loops/bare": "loops_bare sync_generator runner loops_sliced",
    "loops/([a-z]*_task|running)": "hosted hosted_cancellation threads",
    "loops/": "host loops_rare loops_sliced loops_trio loops_asyncio loops_hooks runner loops_outcomes loops_admission"
    " host_cancellation sync_generator_errors portal loops_sliced_drop loops_interrupts loops_sliced_fork hosted"
    " hosted_cancellation testing_leaks",
}
#: The replacements of an operator that are made, besides the operators of cosmic-ray that replace no operator.
REPLACEMENTS: Final = re.compile(
    r"Is_IsNot|IsNot_Is|Eq_NotEq|NotEq_Eq|Lt_(LtE|GtE)|LtE_(Lt|Gt)|Gt_(GtE|LtE)|GtE_(Gt|Lt)"
    r"|Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|RShift_LShift|LShift_RShift|BitOr_BitAnd|BitAnd_BitOr"
    r"|BitXor_BitAnd|Delete_(Not|USub|Invert)"
)
PRELOADED: Final = ("hypothesis", "anyio", "aiosqlite", "trio", "trio.testing", "uvloop")


#: Decorators that only type checkers heed, here where no class that is abstract is made by mistake.
UNSEEN: Final = {"final", "abstractmethod"}


class Runs(ast.NodeTransformer):
    """What of a module runs."""

    def visit_FunctionDef(self, node: Any) -> Any:
        last = node.body[-1]
        if len(node.body) == 1 and isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant):
            return None  # an overload, or a method of a protocol: `...` or a docstring
        node.returns = None
        return self.visit_ClassDef(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # the node's name

    def visit_ClassDef(self, node: Any) -> Any:
        node.decorator_list = [decorator for decorator in node.decorator_list if ast.unparse(decorator) not in UNSEEN]
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        # `/` and `*` are no operators
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [default for default in (*node.defaults, *node.kw_defaults) if default is not None]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test) in {"TYPE_CHECKING", "not TYPE_CHECKING"}:
            node.test = ast.Constant(None)
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        inner = node.operand
        if not isinstance(node.op, ast.Not):
            return node
        if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.Not):
            return inner.operand
        if isinstance(inner, ast.Compare) and len(inner.ops) == 1 and type(inner.ops[0]) in NEGATED:
            return ast.Compare(inner.left, [NEGATED[type(inner.ops[0])]()], inner.comparators)
        return node


NEGATED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def what_runs(source: str) -> str:
    """A form of the source that is equal for sources that run alike."""
    compile(source, "<mutant>", "exec", dont_inherit=True)
    return ast.dump(Runs().visit(ast.parse(source)))


@final
@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutant of a module: its source, and where and how it differs."""

    module: str
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.change}"


def mutants_of(module: str) -> list[Mutant]:
    """All mutants of a module that may behave differently, in the order of its lines."""
    plugins: Any = importlib.import_module("cosmic_ray.plugins")
    trees: Any = importlib.import_module("cosmic_ray.ast")
    mutating: Any = importlib.import_module("cosmic_ray.mutating")
    source = path_of(module).read_text(encoding="utf-8")
    nodes = list(trees.ast_nodes(trees.get_ast(source)))
    known = {what_runs(source)}
    found: list[Mutant] = []
    for name in plugins.operator_names():
        operator: Any = plugins.get_operator(name)
        replacement = re.search(r"Replace\w+Operator_(\w+)", name)
        if operator.arguments() or (replacement and not REPLACEMENTS.fullmatch(replacement[1])):
            continue
        places = [start for node in nodes for start, _ in operator().mutation_positions(node)]
        for occurrence, (line, _) in enumerate(places):
            mutated = mutating.mutate_code(source, operator(), occurrence)
            try:
                form = what_runs(mutated)
            except SyntaxError:
                continue
            if form not in known:
                known.add(form)
                found.append(Mutant(module, line, changed(source, mutated), mutated))
    return sorted(found, key=lambda mutant: mutant.line)


def changed(before: str, after: str) -> str:
    """The first line that differs, as it was and as it is."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    old, new = next(((old, new) for old, new in pairs if old != new), ("", ""))
    return f"{old.strip()}  →  {new.strip()}"


def path_of(module: str, checkout: Path = CHECKOUT) -> Path:
    """The file of a module of the package."""
    return checkout / "asyncgen_tools" / f"{module}.py"


def tests_of(module: str) -> list[str]:
    """The test files for a module, each once."""
    names = next(names for pattern, names in TESTS.items() if re.match(pattern, module)).split()
    files = [path for name in names for path in sorted(CHECKOUT.glob(f"tests/test_{name}.py"))]
    return list(dict.fromkeys(path.relative_to(CHECKOUT).as_posix() for path in files))


@final
@dataclass(slots=True, eq=False)
class Place:
    """A copy of the checkout in which one mutant after the other is tested."""

    directory: Path
    process: int = 0
    runs: int = 0
    deadline: float = 0
    mutant: Mutant | None = None
    #: What is left to run with this mutant.
    left: list[str] = field(default_factory=list[str])
    #: The lists of tests that have passed here.
    passed: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])

    def start(self, module: str, source: str, tests: list[str], seconds: float = 900) -> None:
        """Run tests with a module that has this source, in a fork."""
        path = path_of(module, self.directory)
        path.write_text(source, encoding="utf-8")
        self.runs += 1
        os.utime(path, (self.runs, self.runs))  # by which bytecode is known; two mutants may be of the same second
        self.deadline = time.monotonic() + seconds
        self.process = os.fork()
        if not self.process:
            code = 1
            try:
                code = self._test(tests)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)

    def _test(self, tests: list[str]) -> int:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self.directory)
        sys.path[0] = os.environ["PYTHONPATH"] = str(self.directory)
        options = ["-x", "-q", "--timeout=20", "-p", "no:randomly", "-p", "no:cacheprovider"]
        options += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        return int(pytest.main([*options, *tests]))

    @property
    def output(self) -> Path:
        """What the last run has printed."""
        return self.directory / "output.txt"

    def ended(self) -> bool | None:
        """Whether the tests have passed; None while they run."""
        process, status = os.waitpid(self.process, os.WNOHANG)
        if process:
            return status == 0
        if time.monotonic() < self.deadline:
            return None
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        return False

    def wait(self) -> bool:
        """Whether the tests have passed, when they have ended."""
        while (passed := self.ended()) is None:
            time.sleep(0.02)
        return passed

    def prepare(self, module: str) -> None:
        """See that the tests pass here, and that it is this copy which they test."""
        source, tests = path_of(module).read_text(encoding="utf-8"), tests_of(module)
        if tuple(tests) not in self.passed:
            self.start(module, source, tests)
            if not self.wait():
                sys.exit(f"the tests of {module} fail without a mutant:\n{self.output.read_text(encoding='utf-8')}")
            self.passed.add(tuple(tests))
        self.start(module, source + "\nraise RuntimeError\n", tests)
        if self.wait():
            sys.exit(f"the tests of {module} do not test the copy")

    @functools.cache  # noqa: B019  # it lives as long as the process
    def reach(self, tests: tuple[str, ...]) -> Any:
        """Run tests, and measure which of them reach which line of the package."""
        settings = self.directory / "reach.ini"
        settings.write_text(
            f"[run]\ndata_file = {settings}.data\nsource = asyncgen_tools\ndynamic_context = test_function\n"
        )
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q"]
        environment = {**os.environ, "PYTHONPATH": str(self.directory), "COVERAGE_CORE": "ctrace"}
        with self.output.open("w") as output:
            subprocess.run(
                [*command, *tests], cwd=self.directory, env=environment, stdout=output, stderr=output, check=False
            )
        data: Any = importlib.import_module("coverage").CoverageData(f"{settings}.data")
        data.read()
        return data

    def reaching(self, mutant: Mutant) -> list[str]:
        """The tests that reach the line of a mutant; all, if it runs when the module is imported."""
        tests = tests_of(mutant.module)
        contexts = self.reach(tuple(tests)).contexts_by_lineno(str(path_of(mutant.module, self.directory)))
        line = max((line for line in contexts if line <= mutant.line), default=0)
        return [
            f"{test}::{name.replace('.', '::')}"
            for test in tests
            for context in sorted(contexts.get(line, []))
            for module, _, name in [context.partition(f"{Path(test).stem}.")]
            if module == "tests."
        ] or tests


def survivors(places: list[Place], module: str, mutants: list[Mutant]) -> Iterator[Mutant]:
    """Test the mutants of one module, some side by side; gives those that survive."""
    places[0].reach(tuple(tests_of(module)))
    for place in places:
        place.prepare(module)
    waiting, busy = list(mutants), list[Place]()
    while waiting or busy:
        for place in [place for place in places if place not in busy][: len(waiting)]:
            place.mutant = waiting.pop(0)
            tests = tests_of(module)
            reaching = places[0].reaching(place.mutant)
            place.left = [] if reaching == tests else tests
            place.start(module, place.mutant.source, reaching, 120)
            busy.append(place)
        time.sleep(0.02)
        for place in list(busy):
            passed = place.ended()
            if passed is None or place.mutant is None:
                continue
            if passed and place.left:
                # in threads and processes that are not measured, others may reach it, too
                place.start(module, place.mutant.source, place.left)
                place.left = []
                continue
            busy.remove(place)
            if passed:
                yield place.mutant
    for place in places:
        shutil.copy2(path_of(module), path_of(module, place.directory))


def main() -> None:
    """Test what the command line names, and print the survivors and the score of each module."""
    parser = argparse.ArgumentParser(description="Which of cosmic-ray's mutants the tests kill.")
    parser.add_argument("modules", nargs="*", metavar="MODULE[:LINE]", help="such as host, runner:300 or 'loops/*'")
    parser.add_argument("--sample", type=int, help="how many mutants to take at random, of all that are named")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="how many to test side by side")
    parser.add_argument("--list", action="store_true", help="print the mutants and test nothing")
    options = parser.parse_args()
    chosen = [
        mutant
        for pattern, _, line in (named.partition(":") for named in options.modules or ["*"])
        for name in fnmatch.filter(MODULES, pattern)
        for mutant in mutants_of(name)
        if not line or mutant.line == int(line)
    ]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))  # noqa: S311  # not for secrets
    by_module: dict[str, list[Mutant]] = {}
    for mutant in chosen:
        by_module.setdefault(mutant.module, []).append(mutant)
    if options.list:
        print(*chosen, sep="\n")
        return
    # It may have been inherited as ignored: so shells start what they put behind, and Ctrl-C would not be looked at.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"  # ours would import the package, here and once for all
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as scratch:
        places = [Place(Path(scratch) / str(number)) for number in range(options.jobs)]
        for place in places:
            shutil.copytree(CHECKOUT, place.directory, ignore=shutil.ignore_patterns(".*", "__pycache__", "_build"))
        for module, mutants in by_module.items():
            survived = 0
            for mutant in survivors(places, module, mutants):
                survived += 1
                print(f"survived: {mutant}", flush=True)
            killed = len(mutants) - survived
            print(f"{module}: {killed} of {len(mutants)} killed ({killed / len(mutants):.0%})", flush=True)


if __name__ == "__main__":
    main()
