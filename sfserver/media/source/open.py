"""The one guarded way to open media for reading."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.logging
from av.container import InputContainer

from sfserver.errors import DamagedMediaError, MediaLimitError, UnsupportedMediaError
from sfserver.media.contract import MediaLimits
from sfserver.media.source.decoders import CODEC_WHITELIST

# Demuxers whose files hold all their bytes themselves. A format that can name other files (hls, dash, concat, sdp,
# image2, imf …) must never get in: the whitelist is what stops it, whatever the file is called.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg"

_ANALYZE_US = 10_000_000


_SURROUNDINGS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ESTALE}
_READ_BYTES = 1 << 20
_REFUSED_PICTURE = re.compile(r"Picture size (\d+)x(\d+) (?:exceeds|is invalid)")


@contextmanager
def media_errors() -> Iterator[None]:
    """Turn FFmpeg's errors into `UnsupportedMediaError`.

    No memory, an error of the machine, a file that is not there or not ours to read, or an encoder that gives up
    (which is how x264 says that it has no memory) is not the upload's fault: those pass as they are.
    """
    try:
        yield
    except (av.error.MemoryError, av.error.FileNotFoundError, av.error.PermissionError, av.error.ExternalError):
        raise
    except av.error.FFmpegError as error:
        raise_trouble(error)
        raise UnsupportedMediaError(f"cannot be read as video: {error.strerror}") from error


def raise_trouble(error: av.error.FFmpegError) -> None:
    """Raise an OSError where the machine is to blame for what FFmpeg met, and not the file.

    Demuxers say EIO of a file that is cut off, too; whether it was the disk shows by reading the file once more.
    """
    if error.errno in _SURROUNDINGS:
        raise error
    if error.errno == errno.EIO and error.filename:
        with Path(str(error.filename).removeprefix("file:")).open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass


@contextmanager
def refused_pictures(limits: MediaLimits) -> Iterator[None]:
    """Tell a picture that no decoder takes for its size from a damaged one: FFmpeg says the size in its log alone.

    Raises `MediaLimitError` (pixels) in place of `DamagedMediaError`.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            yield
    except DamagedMediaError:
        sizes = [match for _, _, text in lines if (match := _REFUSED_PICTURE.match(text))]
        pixels = max((int(match[1]) * int(match[2]) for match in sizes), default=0)
        if pixels > limits.max_pixels:
            raise MediaLimitError("pixels", limit=limits.max_pixels, value=pixels) from None
        raise
    finally:
        av.logging.set_level(level)


@contextmanager
def open_source(path: Path, limits: MediaLimits) -> Iterator[InputContainer]:
    """Open an untrusted file: known self-contained formats only, local file only, bounded probing, known decoders.

    The caller chose `path` and the file lies alone in its directory. Raises `UnsupportedMediaError` and
    `MediaLimitError` (streams).
    """
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "codec_whitelist": CODEC_WHITELIST,
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
        if len(container.streams) > limits.max_streams:
            raise MediaLimitError("streams", limit=limits.max_streams, value=len(container.streams))
        yield container


def check_pixels(width: int, height: int, limits: MediaLimits) -> None:
    """Raise `MediaLimitError` (pixels) for a picture beyond the limit."""
    if width * height > limits.max_pixels:
        raise MediaLimitError("pixels", limit=limits.max_pixels, value=width * height)
