"""A DASH manifest (ISO/IEC 23009-1) over stored chunks: every segment by its URL and byte range."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from xml.sax.saxutils import quoteattr

from sfserver.media.contract import Rational
from sfserver.media.mp4.segments import Segment

_START = (
    '<?xml version="1.0" encoding="utf-8"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' profiles="urn:mpeg:dash:profile:isoff-main:2011" minBufferTime="PT4S"'
)


@dataclass(frozen=True)
class Chunk:
    """A chunk's segments and the URL of its object."""

    url: str
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Representation:
    """One track: its init segment's URL and its chunks in order. `sample_rate` tells sound from picture."""

    name: str
    codecs: str
    bandwidth_bps: int
    timescale: int
    init_url: str
    chunks: Sequence[Chunk]
    width: int = 0
    height: int = 0
    sample_rate: int = 0


def dash_manifest(
    pictures: Sequence[Representation],
    sound: Representation | None,
    *,
    duration_s: float,
    fps: Rational,
    language: str = "und",
) -> str:
    """Write an MPD of the main profile (ISO/IEC 23009-1, 8.5).

    One `S` a segment, without repeats: dash.js ends after the first segment of a list with repeats.
    """
    parts = [
        f'{_START} mediaPresentationDuration="PT{duration_s:.3f}S"><Period>',
        '<AdaptationSet contentType="video" segmentAlignment="true" startWithSAP="1">',
        *chain.from_iterable(_representation(each, _picture(each, fps)) for each in pictures),
        "</AdaptationSet>",
    ]
    if sound:
        parts.append(f'<AdaptationSet contentType="audio" lang={quoteattr(language)} startWithSAP="1">')
        parts += [*_representation(sound, _sound(sound)), "</AdaptationSet>"]
    return "".join([*parts, "</Period></MPD>\n"])


def _picture(track: Representation, fps: Rational) -> str:
    return f'mimeType="video/mp4" width="{track.width}" height="{track.height}" frameRate="{fps.num}/{fps.den}"'


def _sound(track: Representation) -> str:
    return f'mimeType="audio/mp4" audioSamplingRate="{track.sample_rate}"'


def _representation(track: Representation, says: str) -> Iterable[str]:
    rate = f'codecs="{track.codecs}" bandwidth="{track.bandwidth_bps}"'
    yield f"<Representation id={quoteattr(track.name)} {rate} {says}>"
    yield f'<SegmentList timescale="{track.timescale}"><Initialization sourceURL={quoteattr(track.init_url)}/>'
    yield "<SegmentTimeline>"
    at = 0
    for segment in chain.from_iterable(chunk.segments for chunk in track.chunks):
        ticks = int(segment.duration_s * track.timescale)
        yield f'<S t="{at}" d="{ticks}"/>'
        at += ticks
    yield "</SegmentTimeline>"
    for chunk in track.chunks:
        media = quoteattr(chunk.url)
        for segment in chunk.segments:
            yield f'<SegmentURL media={media} mediaRange="{segment.offset}-{segment.offset + segment.length - 1}"/>'
    yield "</SegmentList></Representation>"
