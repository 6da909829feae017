"""VLC: encodes what it would show; it refuses to do anything as root."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.players.command import CommandPlayer
from tests.players.library import Video
from tests.players.signals import Heard, Signal, watch
from tests.requirements import require_tool

# The muxer begins with the streams it knows: it has to wait until there is a picture too.
# Its output can't change its size: in HLS it has to stay with one quality.
_QUIET = (
    *("--intf=dummy", "--no-interact", "--avcodec-hw=none", "--sout-mux-caching=10000", "--quiet"),
    "--adaptive-logic=lowest",
)
_ENCODE = "transcode{vcodec=h264,venc=x264{preset=ultrafast,tune=zerolatency},acodec=s16l}"


BATCH = 5
"""How many it plays one after the other before it gets slow: the seventh takes two seconds, not a fifth of one."""


class Vlc(CommandPlayer):
    """Debian's, without its windows."""

    late_frames = 1
    early_frames = 1

    def play(self, url: str) -> Heard:
        with _home() as home:
            return _play(home, [url, f":sout={_to(home / 'played.mkv')}"])[0]

    def show(self, url: str, numbers: list[int], signal: Signal) -> list[int]:
        starts = [signal.middle(number) for number in numbers]
        batches = [starts[n : n + BATCH] for n in range(0, len(starts), BATCH)]
        heards = [heard for batch in batches for heard in _start_at(url, batch)]
        # The picture that it opens with may be one from on the way; with the one after that it has arrived.
        return [
            min(heard.numbers[:2], key=lambda shown: abs(shown - number))
            for heard, number in zip(heards, numbers, strict=True)
        ]

    def check_whole(self, video: Video, heard: Heard, late_s: float = 0.0) -> None:
        """Every frame once; each beep with its flash, but for the edit list, which it does not know in HLS."""
        assert heard.numbers == video.signal.shown
        if video.signal.has_sound:
            assert len(heard.flashes) == len(heard.beeps) == len(video.signal.flashes)
            assert heard.worst_offset_s() < 1.1 / video.signal.fps
        else:
            assert heard.beeps == []

    @property
    def _slack_s(self) -> float:
        return 0.05  # its clock starts when its first picture is there


def _start_at(url: str, starts: list[float]) -> list[Heard]:
    """Play a moment from each of the times."""
    with _home() as home:
        limits = [(f":start-time={start:.6f}", f":stop-time={start + 0.3:.6f}") for start in starts]
        return _play(home, *([url, *both, f":sout={_to(home / f'{n}.mkv')}"] for n, both in enumerate(limits)))


def _to(path: Path) -> str:
    return f"#{_ENCODE}:std{{access=file,mux=avformat{{mux=matroska}},dst={path}}}"


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as home:
        account = _account()
        os.chown(home, account.pw_uid, account.pw_gid)
        yield Path(home)


def _account() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())


def _play(home: Path, *items: list[str]) -> list[Heard]:
    """Play the items, each with its options, one after the other."""
    account, is_root = _account(), os.geteuid() == 0
    done = subprocess.run(
        [require_tool("cvlc"), *_QUIET, *(word for item in items for word in item), "vlc://quit"],
        env={**os.environ, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
        user=account.pw_uid if is_root else None,
        group=account.pw_gid if is_root else None,
        extra_groups=[] if is_root else None,
    )
    made = [Path(item[-1].rpartition("dst=")[2].rstrip("}")) for item in items]
    assert all(path.exists() for path in made), done.stderr[-3000:]
    return [watch(path) for path in made]
