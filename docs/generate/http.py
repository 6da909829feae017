"""The page of HTTP calls, from the OpenAPI document of the application."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docs.generate.markdown import first_paragraph, table
from docs.generate.markdown import page as whole_page
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.dramatiq import in_memory_doorbell
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.roots.api import create_app
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings

Json = dict[str, Any]
_PAGE = "Page_"
INTRODUCTION = """\
JSON in and out, times in RFC 3339 (UTC), sizes in bytes, durations in seconds, bit rates in bit/s. Every call but
health and public media wants `Authorization: Bearer TOKEN`. Every answer that is not listed is a
[problem document](errors.md). A page of a list is `{"items": [...], "next_cursor": null}`; pass `next_cursor` back as
`cursor` for the next one. Whatever answers GET answers HEAD."""


def page() -> str:
    """Return the page: every call, then every model they speak in."""
    document = _document()
    calls = [block for path, item in document["paths"].items() for block in _calls(path, item)]
    schemas = sorted(document["components"]["schemas"].items())
    models = [block for name, schema in schemas if not name.startswith(_PAGE) for block in _model(name, schema)]
    return whole_page("HTTP interface", INTRODUCTION, "## Calls", *calls, "## Models", *models)


def _document() -> Json:
    with TemporaryDirectory() as folder:
        runtime = make_runtime(
            Settings(data_dir=Path(folder)),
            database=Database("sqlite://"),
            store=DirectoryStore(Path(folder)),
            bus=InProcessBus(),
            doorbell=in_memory_doorbell(),
            signing_key=b"",
            version="",
        )
        document: Json = create_app(runtime).openapi()
        return document


def _calls(path: str, item: Json) -> Iterator[str]:
    for method, call in item.items():
        yield f"### {method.upper()} {path}"
        yield (call.get("description") or call.get("summary", "")).strip()
        yield table(["parameter", "in", "type", "meaning"], map(_parameter_row, call.get("parameters", [])))
        for kind, content in call.get("requestBody", {}).get("content", {}).items():
            yield from _body(kind, content.get("schema", {}))
        answers = {status: answer for status, answer in call["responses"].items() if status.isdigit()}
        yield table(["answer", "body", "meaning"], (_answer_row(*answer) for answer in answers.items()))


def _body(kind: str, schema: Json) -> Iterator[str]:
    yield f"Body: {kind}" + (f", {_type(schema)}" if "$ref" in schema else "")
    needed = schema.get("required", [])
    fields = schema.get("properties", {}).items()
    rows = ([f"`{name}`{_required(name in needed)}", _type(kind), kind.get("description", "")] for name, kind in fields)
    yield table(["field", "type", "meaning"], rows)


def _required(is_required: bool) -> str:
    return " (required)" if is_required else ""


def _parameter_row(parameter: Json) -> list[str]:
    name = f"`{parameter['name']}`" + _required(parameter.get("required", False))
    return [name, parameter["in"], _type(parameter.get("schema", {})), parameter.get("description", "")]


def _answer_row(status: str, answer: Json) -> list[str]:
    bodies = [
        f"{kind}: {_type(content['schema'])}" if content.get("schema") else kind
        for kind, content in answer.get("content", {}).items()
    ]
    meaning = answer.get("description", "")
    return [status, "; ".join(bodies), "" if meaning == "Successful Response" else meaning]


def _model(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}"
    yield first_paragraph(schema.get("description"))
    if "enum" in schema:
        yield ", ".join(f"`{value}`" for value in schema["enum"])
    fields = schema.get("properties", {}).items()
    rows = ([f"`{field}`", _type(kind), kind.get("description", "")] for field, kind in fields)
    yield table(["field", "type", "meaning"], rows)


def _type(schema: Json) -> str:
    """Return a short name for a JSON schema."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        item = name.removeprefix(_PAGE).rstrip("_")
        return f"{'page of ' if item != name else ''}[{item}](#{item.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    return str(schema.get("format") or schema.get("type", "any"))
