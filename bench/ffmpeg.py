"""What we are compared with: one `ffmpeg` command that decodes once, scales in a cascade and encodes every rung."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sfserver.media.contract import Rung

# Ours alone: how the stream is cut and stored, and one thread a task where ffmpeg does best with its own choice.
_OURS = {"annexb", "stitchable", "threads", "lookahead-threads"}


def available() -> bool:
    """Return whether there is an ffmpeg to compare with."""
    return shutil.which("ffmpeg") is not None


def same_settings(rung: Rung, kbps: int) -> list[str]:
    """Return the options for the x264 parameters that our tasks use."""
    params = [param for param in rung.options["x264-params"].split(":") if param.split("=")[0] not in _OURS]
    cap = ["-maxrate", f"{kbps}k", "-bufsize", f"{kbps}k"]
    return [*_options(rung, rung.options["preset"]), "-x264-params", ":".join(params), *cap]


def plain_veryfast(rung: Rung, _kbps: int) -> list[str]:
    """Return the options of a stock preset under the same GOP rules, without a cap."""
    return [*_options(rung, "veryfast"), "-sc_threshold", "0"]


def _options(rung: Rung, preset: str) -> list[str]:
    gop = rung.options["g"]
    crf = rung.options["crf"] if preset == rung.options["preset"] else "23"
    return ["-preset", preset, "-profile:v", "high", "-crf", crf, "-g", gop, "-keyint_min", gop, "-flags", "+cgop"]


def command(source: Path, rungs: Sequence[Rung], options: Sequence[list[str]], folder: Path) -> list[str | Path]:
    """Return the command that writes a video file per rung and one sound file into `folder`."""
    graph, above = [], "0:v"
    for n, rung in enumerate(rungs):
        scale = f"scale={rung.width}:{rung.height}:flags=bicubic" if n else "null"
        rest = f"[v{n}][s{n}]" if n + 1 < len(rungs) else f"[v{n}]"
        graph.append(f"[{above}]{scale}" + (",split" if n + 1 < len(rungs) else "") + rest)
        above = f"s{n}"
    words: list[str | Path] = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", source]
    words += ["-filter_complex", ";".join(graph)]
    for n, (rung, chosen) in enumerate(zip(rungs, options, strict=True)):
        words += ["-map", f"[v{n}]", "-c:v", "libx264", *chosen, folder / f"{rung.name}.mp4"]
    return [*words, "-map", "0:a", "-c:a", "aac", "-b:a", "128k", "-ar", "48000", folder / "audio.mp4"]
