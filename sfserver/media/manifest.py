"""HLS playlists (RFC 8216bis) over the stored track files: byte ranges in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from sfserver.media.contract import PackageResult, RenditionFacts
from sfserver.media.tracks import TrackTable

_FIRST_HEIGHT = 720


@dataclass(frozen=True)
class Segment:
    """A run of bytes of a track file that lasts `duration_s`."""

    duration_s: Fraction
    offset: int
    length: int


@dataclass(frozen=True)
class Sound:
    """What the master playlist says of the one audio rendition; `language` is a BCP 47 tag."""

    channels: int = 2
    language: str = "und"
    name: str = "Main"


def cut_segments(table: TrackTable, timescale: int, start: int, gops: int) -> list[Segment]:
    """Cut a track into segments of `gops` fragments each; the first fragment lies at `start` of its file."""
    firsts = np.arange(0, len(table.fragment_sizes), gops)
    lengths = np.add.reduceat(table.fragment_sizes, firsts)
    ticks = np.add.reduceat(table.fragment_ticks, firsts)
    return _segments(ticks, timescale, np.cumsum(lengths) - lengths + np.uint64(start), lengths)


def cut_iframes(table: TrackTable, timescale: int, start: int) -> list[Segment]:
    """Cut out the sync frame at the front of each fragment with the `moof` before it; each lasts to the next one."""
    offsets = np.cumsum(table.fragment_sizes) - table.fragment_sizes + np.uint64(start)
    return _segments(table.fragment_ticks, timescale, offsets, table.sync_ends)


def average_bps(segments: Sequence[Segment]) -> int:
    """Measure the average rate in bit/s."""
    return round(8 * sum(segment.length for segment in segments) / sum(segment.duration_s for segment in segments))


def peak_bps(segments: Sequence[Segment]) -> int:
    """Measure the largest rate of neighbours that last 0.5 to 1.5 target durations together (RFC 8216bis, 4.4.6.2)."""
    target = target_duration(segments)
    runs = [[segment] for segment in segments] + [list(pair) for pair in pairwise(segments)]
    lasting = [run for run in runs if target <= 2 * sum(segment.duration_s for segment in run) <= 3 * target]
    return max((average_bps(run) for run in lasting), default=average_bps(segments))


def target_duration(segments: Sequence[Segment]) -> int:
    """Return EXT-X-TARGETDURATION: no segment, rounded to whole seconds, lasts longer."""
    return max(1, *(int(segment.duration_s + Fraction(1, 2)) for segment in segments))


def media_playlist(uri: str, init_bytes: int, segments: Sequence[Segment], *, iframes_only: bool = False) -> str:
    """Write a VOD playlist of byte ranges of one track file, whose first `init_bytes` are its `ftyp moov`."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target_duration(segments)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-I-FRAMES-ONLY" if iframes_only else "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{init_bytes}@0"',
    ]
    for segment in segments:
        lines += [
            f"#EXTINF:{float(segment.duration_s):.6f},",
            f"#EXT-X-BYTERANGE:{segment.length}@{segment.offset}",
            uri,
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def master_playlist(package: PackageResult, sound: Sound | None = None, prefix: str = "") -> str:
    """Write the multivariant playlist; `prefix` stands before each child's URI.

    Rates are measured: a variant's peak and average are its picture's plus its sound's. A player begins with the
    first variant, so that is a middling one.
    """
    sound = sound or Sound()
    has_sound = any(rendition.audio_codecs for rendition in package.renditions)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if has_sound:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{sound.name}",LANGUAGE="{sound.language}",'
            f'DEFAULT=YES,AUTOSELECT=YES,CHANNELS="{sound.channels}",URI="{prefix}audio.m3u8"'
        )
    rate = f"{package.fps.num / package.fps.den:.3f}"
    for rendition in starting_order(package.renditions):
        lines += [_variant(rendition, rate), f"{prefix}{rendition.quality}.m3u8"]
    lines += [_iframe_variant(rendition, prefix) for rendition in package.renditions]
    return "\n".join([*lines, ""])


def starting_order(renditions: Sequence[RenditionFacts]) -> list[RenditionFacts]:
    """Put the best rendition of at most 720 lines first, where there is one; the others keep their order."""
    middling = [each for each in renditions if min(each.width, each.height) <= _FIRST_HEIGHT]
    if not middling:
        return list(renditions)
    first = max(middling, key=lambda each: each.peak_bps)
    return [first, *(each for each in renditions if each is not first)]


def _variant(rendition: RenditionFacts, rate: str) -> str:
    codecs = ",".join(filter(None, (rendition.video_codecs, rendition.audio_codecs)))
    audio = ',AUDIO="audio"' if rendition.audio_codecs else ""
    return (
        f"#EXT-X-STREAM-INF:BANDWIDTH={rendition.peak_bps},AVERAGE-BANDWIDTH={rendition.average_bps},"
        f'CODECS="{codecs}",RESOLUTION={rendition.width}x{rendition.height},FRAME-RATE={rate},'
        f"CLOSED-CAPTIONS=NONE{audio}"
    )


def _iframe_variant(rendition: RenditionFacts, prefix: str) -> str:
    return (
        f"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={rendition.iframe_peak_bps},"
        f'AVERAGE-BANDWIDTH={rendition.iframe_average_bps},CODECS="{rendition.video_codecs}",'
        f'RESOLUTION={rendition.width}x{rendition.height},URI="{prefix}{rendition.quality}.iframes.m3u8"'
    )


def _segments(ticks: np.ndarray, timescale: int, offsets: np.ndarray, lengths: np.ndarray) -> list[Segment]:
    rows = zip(ticks.tolist(), offsets.tolist(), lengths.tolist(), strict=True)
    return [Segment(Fraction(duration, timescale), offset, length) for duration, offset, length in rows]
