"""The page of HTTP calls, from the OpenAPI document of the application."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sfserver.app import create_app

from docs.generate.markdown import first_paragraph, table
from docs.generate.markdown import page as whole_page
from sfserver.deps import Runtime
from sfserver.infra.db import Database
from sfserver.infra.events import InProcessBus
from sfserver.infra.storage import DirectoryStore
from sfserver.settings import Settings

Json = dict[str, Any]
INTRODUCTION = """\
JSON in and out, times in RFC 3339 (UTC), sizes in bytes, durations in seconds, bit rates in bit/s. Errors are
[problem documents](errors.md)."""


def page() -> str:
    """Return the page: every call, then every model they speak in."""
    document = _document()
    calls = [block for path, item in document["paths"].items() for block in _calls(path, item)]
    schemas = sorted(document["components"]["schemas"].items())
    models = [block for name, schema in schemas for block in _model(name, schema)]
    return whole_page("HTTP interface", INTRODUCTION, "## Calls", *calls, "## Models", *models)


def _document() -> Json:
    with TemporaryDirectory() as folder:
        runtime = Runtime(
            settings=Settings(data_dir=Path(folder)),
            database=Database("sqlite://"),
            store=DirectoryStore(Path(folder)),
            bus=InProcessBus(),
            ring=lambda _queue, _times: None,
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
        yield table(["answer", "body", "meaning"], (_answer_row(*answer) for answer in call["responses"].items()))


def _parameter_row(parameter: Json) -> list[str]:
    name = f"`{parameter['name']}`" + (" (required)" if parameter.get("required") else "")
    return [name, parameter["in"], _type(parameter.get("schema", {})), parameter.get("description", "")]


def _answer_row(status: str, answer: Json) -> list[str]:
    bodies = [
        f"{kind}: {_type(content['schema'])}" if content.get("schema") else kind
        for kind, content in answer.get("content", {}).items()
    ]
    return [status, "; ".join(bodies), answer.get("description", "")]


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
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    return str(schema.get("format") or schema.get("type", "any"))
