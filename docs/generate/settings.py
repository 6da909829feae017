"""The page of settings, from the settings model."""

import json

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generate.markdown import first_paragraph, table
from docs.generate.markdown import page as whole_page
from sfserver.settings import Settings

INTRODUCTION = """\
The server reads its settings from environment variables, once, when it starts. Lists are written as JSON."""


def page() -> str:
    """Return the page: one table for the top, one for each section."""
    prefix = str(Settings.model_config["env_prefix"])
    sections = {name: field for name, field in Settings.model_fields.items() if _section(field)}
    top = {name: field for name, field in Settings.model_fields.items() if name not in sections}
    blocks = [_settings_table(prefix, top)]
    for name, field in sections.items():
        section = _section(field)
        if section is not None:
            blocks += [f"## {name}", first_paragraph(section.__doc__)]
            blocks += [_settings_table(f"{prefix}{name.upper()}__", section.model_fields)]
    return whole_page("Settings", INTRODUCTION, *blocks)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _settings_table(prefix: str, fields: dict[str, FieldInfo]) -> str:
    rows = [[f"`{prefix}{name.upper()}`", _default(field), field.description or ""] for name, field in fields.items()]
    return table(["variable", "default", "meaning"], rows)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "a folder of the user's"
    if field.default is None:
        return ""
    if isinstance(field.default, float) and field.default.is_integer():
        return f"`{field.default:.0f}`"
    return f"`{json.dumps(field.default) if isinstance(field.default, list) else field.default}`"
