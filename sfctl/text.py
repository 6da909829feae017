"""Text of users and servers, made harmless and readable before it reaches a terminal."""

import re

# ECMA-48 control sequences (CSI), strings (OSC, DCS, SOS, PM, APC) and two-byte escapes, in 7- and 8-bit form.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_SPACES = re.compile(r"[\t\n\r\v\f\x85\u2028\u2029]+")
# C0, C1, DEL; bidirectional marks, overrides and isolates (UAX #9); zero-width no-break space; lone surrogates.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def safe_text(text: str) -> str:
    """Return `text` as one line that cannot steer a terminal: no escapes, controls or bidi overrides."""
    return _UNSAFE.sub("", _SPACES.sub(" ", _ESCAPES.sub("", text)))


def safe_file_name(title: str, suffix: str) -> str:
    """Make a file name of a title: no directories, no leading dot or dash, at most 200 bytes before `suffix`."""
    stem = re.sub(r'[/\\:*?"<>|]+', "_", safe_text(title)).strip().lstrip(".-").strip()
    stem = stem.encode()[:200].decode(errors="ignore").strip()
    return f"{stem or 'video'}{suffix}"


def describe_trouble(code: str, detail: str) -> str:
    """Write an error for people: `storage full: 12 MiB are free`."""
    return f"{code.replace('_', ' ')}: {detail}"


def format_bytes(size: float) -> str:
    """Write a size in bytes for people, powers of 1000: `1.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_bitrate(bits_per_s: float) -> str:
    """Write a bit rate for people: `2.4 Mb/s`."""
    return f"{bits_per_s / 1e6:.1f} Mb/s" if bits_per_s >= 999_500 else f"{bits_per_s / 1e3:.0f} kb/s"


def format_duration(seconds: float) -> str:
    """Write seconds as a clock: `0:07`, `12:41`, `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def parse_clock(text: str) -> float:
    """Read `SS`, `MM:SS` or `HH:MM:SS`, the last part with decimals, as seconds; ValueError otherwise."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise ValueError(f"not a time: {text}")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds
