"""What the media libraries of this machine can do, for `sfctl doctor`."""

from typing import Literal

import av
from av.codec.codec import UnknownCodecError

_ENCODERS = ("libx264", "aac")
_DECODERS = ("h264", "hevc", "vp8", "vp9", "mpeg4", "mjpeg", "aac", "mp3", "opus", "vorbis", "pcm_s16le")


def codec_report() -> dict[str, object]:
    """Return the versions of PyAV and FFmpeg's libraries and which of the codecs we rely on are missing."""
    return {
        "av": av.__version__,
        "libraries": {name: ".".join(map(str, numbers)) for name, numbers in sorted(av.library_versions.items())},
        "missing_encoders": [name for name in _ENCODERS if not _has(name, "w")],
        "missing_decoders": [name for name in _DECODERS if not _has(name, "r")],
    }


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(name, mode)
    except UnknownCodecError:
        return False
    return True
