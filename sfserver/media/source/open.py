"""The one guarded way to open media for reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from sfserver.errors import UnsupportedMediaError
from sfserver.media.contract import MediaLimits

# Demuxers whose files hold all their bytes themselves. A format that can name other files (hls, dash, concat, sdp,
# image2, imf …) must never get in: the whitelist is what stops it, whatever the file is called.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg"

_ANALYZE_US = 10_000_000


@contextmanager
def media_errors() -> Iterator[None]:
    """Turn FFmpeg's errors into `UnsupportedMediaError`.

    No memory, a file that is not there or not ours to read, or an encoder that gives up (which is how x264 says that
    it has no memory) is not the upload's fault: those pass as they are.
    """
    try:
        yield
    except (av.error.MemoryError, av.error.FileNotFoundError, av.error.PermissionError, av.error.ExternalError):
        raise
    except av.error.FFmpegError as error:
        raise UnsupportedMediaError(f"cannot be read as video: {error.strerror}") from error


@contextmanager
def open_source(path: Path, limits: MediaLimits) -> Iterator[InputContainer]:
    """Open an untrusted file: known self-contained formats only, local file only, bounded probing.

    The caller chose `path` and the file lies alone in its directory. Raises `UnsupportedMediaError`.
    """
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "probesize": str(limits.probe_bytes),
        "analyzeduration": str(_ANALYZE_US),
        "max_streams": str(limits.max_streams * 4),
        "max_pixels": str(limits.max_pixels),
        "threads": "1",
    }
    try:
        with media_errors():
            # The scheme keeps a name with a colon from being read as another protocol.
            container = av.open(f"file:{path.absolute()}", "r", options=options, metadata_errors="replace")
    except av.error.MemoryError as error:
        # Opening takes little memory: a header that asks for more than there is was made up or damaged.
        raise UnsupportedMediaError("its header makes no sense") from error
    with container:
        yield container
