"""How Sphinx builds these pages: `sphinx-build -n -W docs docs/_build`, without a network."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import Config, GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CHECKOUT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project: str = PROJECT["name"]
release: str = PROJECT["version"]
version = release
author = "its contributors"
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "examples"]
default_role = "code"  # `name` in a docstring means what it means in Markdown

myst_heading_anchors = 3

autoclass_content = "class"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # as they are written: `ValueError`, not `<class 'ValueError'>`
add_module_names = False  # the page says where they are from; a phone has no room for it
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "asyncgen_tools"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_copyright = False

nitpicky = True
# Names in signatures that lead nowhere. A name of this library that a user would look up is not among them.
nitpick_ignore_regex = [
    # Other projects' names: their pages are elsewhere, and a build fetches nothing.
    (
        r"py:.*",
        r"(collections\.abc|contextlib|contextvars|concurrent\.futures|types|typing|anyio|hypothesis|pytest|trio)\..*",
    ),
    # The same, imported by their own name.
    (
        r"py:.*",
        r"AbstractAsyncContextManager|AbstractContextManager|CapacityLimiter|Context|Executor|SearchStrategy|Bundle",
    ),
    (r"py:.*", r"AsyncGeneratorType|CodeType|FrameType|InvalidArgument|TracebackType"),
    # Type variables say nothing by themselves.
    (r"py:.*", r"(asyncgen_tools\.\w+\.)?(\w*T|\w*T_co|\w*T_contra|Parameters|ParametersP)"),
    # Decorators' types, which only a type checker reads: what `driven(...)` and `delegating(...)` give.
    (r"py:class", r"asyncgen_tools\.(runner\.DrivenDecorator|delegation\._Decorator)"),
    # What rules of a state machine hand to one another.
    (r"py:class", r"(asyncgen_tools\.strategies\.)?Worked"),
    # Aliases of types, whose values the docstrings name.
    (r"py:class", r"Cancellation|Check|CloseAction|Factory"),
]


def render_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn Google's sections into fields, and leave out what a docstring says to pytest and to linters.

    Napoleon does the work, but not as an extension: of a property it would take what is before a colon for the type.
    """
    kind = "method" if what in {"attribute", "data", "property"} else what
    said = [line for line in lines if line.strip() not in {"PYTEST_DONT_REWRITE", "draw: given by hypothesis."}]
    lines[:] = GoogleDocstring(said, Config(), app, kind, name, obj, options).lines()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", render_docstring)
