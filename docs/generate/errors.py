"""The page of error codes, from the error tree and the places that raise its limits."""

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.generate.markdown import bullets, first_paragraph, table
from docs.generate.markdown import page as whole_page
from sfserver import errors
from sfserver.errors import MediaLimitError, StreamForgeError

INTRODUCTION = """\
Every answer that is not 2xx has a body of type `application/problem+json` (RFC 9457): `title`, `status`, `detail`,
`code`, `request_id` and often a `hint` that says what to do next. `code` is stable. A failed job carries the same
codes in its `error`."""


def page() -> str:
    """Return the page."""
    leaves = sorted(_leaves(StreamForgeError), key=lambda leaf: (leaf.status, leaf.code))
    rows = [[f"`{leaf.code}`", str(leaf.status), _meaning(leaf), leaf.hint or ""] for leaf in leaves]
    limits = f"{first_paragraph(MediaLimitError.__doc__)} Their status is {MediaLimitError.status}."
    codes = bullets(f"`limit_{name}`" for name in sorted(_limit_names()))
    return whole_page(
        "Error codes",
        INTRODUCTION,
        table(["code", "status", "meaning", "hint"], rows),
        "## Limits",
        f"{limits} Most are [settings](settings.md).",
        codes,
    )


def _leaves(tree: type[StreamForgeError]) -> Iterator[type[StreamForgeError]]:
    """Yield every error that has a code of its own."""
    if "code" in vars(tree):
        yield tree
    for child in tree.__subclasses__():
        yield from _leaves(child)


def _meaning(leaf: type[StreamForgeError]) -> str:
    return "A bug in the server." if leaf is StreamForgeError else first_paragraph(leaf.__doc__)


def _limit_names() -> set[str]:
    """Return the names of all limits, as they are written where the errors are raised."""
    trees = [ast.parse(path.read_text()) for path in Path(errors.__file__).parent.rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if call.args and ast.unparse(call.func).endswith("MediaLimitError")]
    values = [call.args[0] for call in named]
    return {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}
