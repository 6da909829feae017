"""HLS playlists (RFC 8216) and a DASH manifest over the stored track files: byte ranges in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from sfserver.media.contract import PackageResult, RenditionFacts, SoundFacts
from sfserver.media.mp4.tracks import TrackTable

# The player starts here: good enough to look at, small enough to begin at once.
_FIRST_LINES = 720


@dataclass(frozen=True)
class Segment:
    """A run of bytes of a track file that lasts `duration_s`."""

    duration_s: Fraction
    offset: int
    length: int


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
    """Measure the average rate in bit/s; 0 of nothing."""
    duration_s = sum(segment.duration_s for segment in segments)
    return round(8 * sum(segment.length for segment in segments) / duration_s) if duration_s else 0


def peak_bps(segments: Sequence[Segment]) -> int:
    """Measure the largest rate of neighbours that last 0.5 to 1.5 target durations together (RFC 8216, 4.1)."""
    target = target_duration(segments)
    runs = [[segment] for segment in segments] + [list(pair) for pair in pairwise(segments)]
    lasting = [run for run in runs if target <= 2 * sum(segment.duration_s for segment in run) <= 3 * target]
    return max((average_bps(run) for run in lasting), default=average_bps(segments))


def target_duration(segments: Sequence[Segment]) -> int:
    """Return EXT-X-TARGETDURATION: no segment, rounded to whole seconds, lasts longer."""
    return max((int(segment.duration_s + Fraction(1, 2)) for segment in segments), default=0) or 1


def media_playlist(uri: str, init_bytes: int, segments: Sequence[Segment]) -> str:
    """Write a VOD playlist of byte ranges of one track file, whose first `init_bytes` are its `ftyp moov`."""
    return _playlist("#EXT-X-INDEPENDENT-SEGMENTS", uri, init_bytes, segments)


def iframe_playlist(uri: str, init_bytes: int, iframes: Sequence[Segment]) -> str:
    """Write the playlist of a track file's sync frames alone, for fast winding and previews."""
    return _playlist("#EXT-X-I-FRAMES-ONLY", uri, init_bytes, iframes)


def master_playlist(package: PackageResult, prefix: str = "", language: str = "und") -> str:
    """Write the multivariant playlist; `prefix` stands before each child's URI, `language` is a BCP 47 tag.

    Rates are measured: a variant's peak and average are its picture's plus its sound's. A player begins with the
    first variant, so that is a middling one.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if package.audio:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",LANGUAGE={_quoted(language)},DEFAULT=YES,'
            f'AUTOSELECT=YES,CHANNELS="{package.audio.channels}",URI={_quoted(f"{prefix}audio.m3u8")}'
        )
    rate = f"{package.fps.num / package.fps.den:.3f}"
    for rendition in starting_order(package.renditions):
        lines += [_variant(rendition, rate), f"{prefix}{rendition.quality}.m3u8"]
    lines += [_iframe_variant(rendition, prefix) for rendition in package.renditions]
    return "\n".join([*lines, ""])


def starting_order(renditions: Sequence[RenditionFacts]) -> list[RenditionFacts]:
    """Put the best rendition of at most 720 lines first, where there is one; the others keep their order."""
    middling = [each for each in renditions if min(each.width, each.height) <= _FIRST_LINES]
    if not middling:
        return list(renditions)
    first = max(middling, key=lambda each: each.width * each.height)
    return [first, *(each for each in renditions if each is not first)]


def dash_manifest(package: PackageResult, prefix: str = "../", language: str = "und") -> str:
    """Write an MPD of the on-demand profile (ISO/IEC 23009-1, 8.3); the track files carry their own index."""
    mpd = Element("MPD", xmlns="urn:mpeg:dash:schema:mpd:2011", type="static", minBufferTime="PT4S")
    mpd.set("profiles", "urn:mpeg:dash:profile:isoff-on-demand:2011")
    mpd.set("mediaPresentationDuration", f"PT{package.duration_s:.3f}S")
    period = SubElement(mpd, "Period")
    pictures = SubElement(period, "AdaptationSet", contentType="video", subsegmentAlignment="true")
    pictures.set("subsegmentStartsWithSAP", "1")
    for each in package.renditions:
        shown = _representation(pictures, f"{prefix}v/{each.quality}.mp4", each.video_peak_bps, each)
        shown |= {"id": each.quality, "mimeType": "video/mp4", "codecs": each.video_codecs}
        shown |= {"width": str(each.width), "height": str(each.height)}
        shown["frameRate"] = f"{package.fps.num}/{package.fps.den}"
    if package.audio:
        sounds = SubElement(period, "AdaptationSet", contentType="audio", lang=language)
        heard = _representation(sounds, f"{prefix}a/main.mp4", package.audio_peak_bps, package.audio)
        heard |= {"id": "audio", "mimeType": "audio/mp4", "codecs": package.audio.codecs}
        heard["audioSamplingRate"] = str(package.audio.sample_rate)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(mpd, encoding="unicode")


def _representation(parent: Element, url: str, bandwidth: int, facts: RenditionFacts | SoundFacts) -> dict[str, str]:
    """Add a representation by where its file keeps its header and index; return its attributes, to be added to."""
    representation = SubElement(parent, "Representation", bandwidth=str(bandwidth))
    SubElement(representation, "BaseURL").text = url
    index = f"{facts.init_bytes}-{facts.init_bytes + facts.index_bytes - 1}"
    base = SubElement(representation, "SegmentBase", indexRange=index, indexRangeExact="true")
    SubElement(base, "Initialization", range=f"0-{facts.init_bytes - 1}")
    return representation.attrib


def _playlist(kind: str, uri: str, init_bytes: int, segments: Sequence[Segment]) -> str:
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target_duration(segments)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        kind,
        f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{init_bytes}@0"',
    ]
    for segment in segments:
        lines += [
            f"#EXTINF:{float(segment.duration_s):.6f},",
            f"#EXT-X-BYTERANGE:{segment.length}@{segment.offset}",
            uri,
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def _quoted(text: str) -> str:
    """Write a quoted-string (RFC 8216, 4.2), which can hold neither quotes nor line breaks."""
    return '"' + "".join(c for c in text if c.isprintable() and c != '"') + '"'


def _variant(rendition: RenditionFacts, rate: str) -> str:
    codecs = ",".join(filter(None, (rendition.video_codecs, rendition.audio_codecs)))
    audio = ',AUDIO="audio"' if rendition.audio_codecs else ""
    return (
        f"#EXT-X-STREAM-INF:BANDWIDTH={rendition.peak_bps},AVERAGE-BANDWIDTH={rendition.average_bps},"
        f'CODECS="{codecs}",RESOLUTION={rendition.width}x{rendition.height},FRAME-RATE={rate},'
        f"CLOSED-CAPTIONS=NONE{audio}"
    )


def _iframe_variant(rendition: RenditionFacts, prefix: str) -> str:
    uri = _quoted(f"{prefix}{rendition.quality}.iframes.m3u8")
    return (
        f"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={rendition.iframe_peak_bps},"
        f'AVERAGE-BANDWIDTH={rendition.iframe_average_bps},CODECS="{rendition.video_codecs}",'
        f"RESOLUTION={rendition.width}x{rendition.height},URI={uri}"
    )


def _segments(ticks: np.ndarray, timescale: int, offsets: np.ndarray, lengths: np.ndarray) -> list[Segment]:
    rows = zip(ticks.tolist(), offsets.tolist(), lengths.tolist(), strict=True)
    return [Segment(Fraction(duration, timescale), offset, length) for duration, offset, length in rows]
