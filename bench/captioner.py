"""The captioner beside pocketsphinx: CPU for a second of speech, and the memory that three hours of it take.

The speech is the voices of the tests, over and over; one thread each. Run alone: `python -m bench.captioner`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measuring import Row, print_table, ratio_row, run_command, spread
from transformer.augment import read_sound
from transformer.config import SAMPLE_RATE
from transformer.runtime import Transcriber

VOICES = Path(__file__).parents[1] / "tests" / "transformer" / "voices" / "voices.opus"
PAIRS = 3
LONG_S = 3 * 3600


def main() -> None:
    """Print the table."""
    # First, while this process is small: Linux counts a parent's memory at the fork towards its child's biggest.
    long = run_command([sys.executable, "-m", "bench.captioner", "hear"])
    from transformer.evaluate import hear_with_peer  # brings torch, which is not to be counted as memory of serving

    sound = read_sound(str(VOICES))
    seconds = len(sound) / SAMPLE_RATE
    model = Transcriber()
    pairs = [
        (cpu_s(lambda: model.transcribe(sound)) / seconds, cpu_s(lambda: hear_with_peer(sound)) / seconds)
        for _ in range(PAIRS)
    ]
    own = [pair[0] for pair in pairs]
    memory = long.peak_rss_bytes / 2**20
    rows = [
        Row("CPU for a second of speech, s", spread(own), "≤ 0.05", max(own) <= 0.05),
        ratio_row("CPU ÷ pocketsphinx's", pairs, 1),
        Row("CPU for a second of three hours, s", f"{long.cpu_s / LONG_S:.3f}", "≤ 0.05", long.cpu_s / LONG_S <= 0.05),
        Row("biggest memory over three hours, MiB", f"{memory:.0f}", "< 400", memory < 400),
    ]
    print_table("Captioner", rows)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time that a piece of work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def speech(seconds: int) -> Iterator[NDArray[np.int16]]:
    """Yield so much speech in blocks of ten seconds."""
    sound, size = (read_sound(str(VOICES)) * 32767).astype(np.int16), 10 * SAMPLE_RATE
    blocks = [sound[at : at + size] for at in range(0, len(sound) - size, size)]
    yield from islice(cycle(blocks), seconds // 10)


if __name__ == "__main__":
    if sys.argv[1:] == ["hear"]:
        Transcriber().transcribe(speech(LONG_S))
    else:
        main()
