"""Settings of the command line: flags over environment over profile over defaults, each with its origin."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sfctl.errors import CliError
from sfctl.exits import Exit

KEYS: dict[str, str] = {
    "url": "address of the server",
    "data_dir": "data directory of the embedded server",
    "quality": "quality that play, download and url take",
    "player": "player of `sfctl play`: mpv, vlc or ffplay",
    "color": "auto, always or never",
    "progress": "auto, tty, plain, json or none",
}
DEFAULTS: dict[str, str] = {"quality": "best", "color": "auto", "progress": "auto"}
CHOICES: dict[str, tuple[str, ...]] = {
    "quality": ("1080p", "720p", "360p", "best", "worst", "source"),
    "player": ("mpv", "vlc", "ffplay"),
    "color": ("auto", "always", "never"),
    "progress": ("auto", "tty", "plain", "json", "none"),
}


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from: `flag`, `env SF_URL`, `profile work`, `default`."""

    value: str
    origin: str


class ConfigFile:
    """`config.toml`: tables `[profiles.NAME]` of string values, and `profile`, the one in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._document = self._read()

    def _read(self) -> dict[str, object]:
        try:
            return tomllib.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CliError(
                f"cannot read {self.path}",
                why=str(error),
                hint="correct the file, or remove it to start afresh",
                exit_code=Exit.USAGE,
            ) from error

    @property
    def active(self) -> str:
        """The name of the profile in use where nobody names one."""
        return str(self._document.get("profile", "default"))

    def profiles(self) -> dict[str, dict[str, str]]:
        """All profiles by name."""
        found = self._document.get("profiles")
        tables = found if isinstance(found, dict) else {}
        return {
            name: {key: str(value) for key, value in table.items() if key in KEYS}
            for name, table in tables.items()
            if isinstance(table, dict)
        }

    def write(self, profile: str, key: str, value: str) -> None:
        """Set one value of one profile, or with key `profile` the profile in use, and save through a temporary file."""
        profiles = self.profiles()
        if key != "profile":
            profiles.setdefault(profile, {})[key] = value
        lines = [f"profile = {_quote(value if key == 'profile' else self.active)}"]
        for name, table in profiles.items():
            lines.append(f"\n[profiles.{_quote(name)}]")
            lines.extend(f"{each} = {_quote(text)}" for each, text in table.items())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".tmp")
        draft.write_text("\n".join(lines) + "\n")
        draft.replace(self.path)
        self._document = self._read()


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, as long as astral characters are not written as surrogate pairs.
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class ResolvedSettings:
    """Every setting that has a value, by key."""

    profile: str
    values: Mapping[str, Setting]

    def find(self, key: str) -> str | None:
        """Return the value of `key`, None where it has none."""
        setting = self.values.get(key)
        return setting.value if setting else None


def load_settings(file: ConfigFile, variables: Mapping[str, str], flags: Mapping[str, str]) -> ResolvedSettings:
    """Merge flags, environment, profile and defaults; a profile that is named but missing is a usage error."""
    named = flags.get("profile") or variables.get("SF_PROFILE")
    profile = named or file.active
    table = file.profiles().get(profile)
    if table is None and profile != "default":
        raise CliError(f"no profile {profile!r} in {file.path}", hint="`sfctl config show`", exit_code=Exit.USAGE)
    values: dict[str, Setting] = {}
    for key in KEYS:
        if key in flags:
            values[key] = Setting(flags[key], "flag")
        elif variables.get(f"SF_{key.upper()}"):
            values[key] = Setting(variables[f"SF_{key.upper()}"], f"env SF_{key.upper()}")
        elif key in (table or {}):
            values[key] = Setting((table or {})[key], f"profile {profile}")
        elif key in DEFAULTS:
            values[key] = Setting(DEFAULTS[key], "default")
    for key, setting in values.items():
        check_setting(key, setting.value)
    return ResolvedSettings(profile, values)


def check_setting(key: str, value: str) -> None:
    """Refuse unknown keys and values outside a key's choices, as usage errors."""
    if key not in KEYS:
        raise CliError(f"no setting {key!r}", hint=f"one of: {', '.join(KEYS)}", exit_code=Exit.USAGE)
    choices = CHOICES.get(key)
    if choices and value not in choices:
        raise CliError(f"{key} cannot be {value!r}", hint=f"one of: {', '.join(choices)}", exit_code=Exit.USAGE)
