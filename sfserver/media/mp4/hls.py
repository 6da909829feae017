"""HLS playlists (RFC 8216) over stored chunks: byte ranges in, text out.

A live list and the one that stays differ in their heads and ends alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sfserver.media.mp4.segments import Segment

# The player starts here: good enough to look at, small enough to begin at once.
_FIRST_LINES = 720
END_LIST = "#EXT-X-ENDLIST\n"


@dataclass(frozen=True)
class Sound:
    """The audio rendition as the multivariant playlist names it."""

    codecs: str
    channels: int


@dataclass(frozen=True)
class Variant:
    """One rung as the multivariant playlist names it; its codecs are the picture's, its rates (bit/s) those with sound.

    `average_bps` is 0 where nothing is measured yet, and `iframe_peak_bps` where there is no I-frame list yet.
    """

    name: str
    width: int
    height: int
    codecs: str
    peak_bps: int
    average_bps: int = 0
    iframe_peak_bps: int = 0
    iframe_average_bps: int = 0


def media_head(init_uri: str, target_s: int, *, live: bool) -> str:
    """Write what stands before the segments of a list that only grows; or, not `live`, of one that stays."""
    start = ["#EXT-X-START:TIME-OFFSET=0.01,PRECISE=YES"] if live else []
    return _head("EVENT" if live else "VOD", target_s, "#EXT-X-INDEPENDENT-SEGMENTS", init_uri, start)


def iframe_head(init_uri: str, target_s: int) -> str:
    """Write what stands before the sync frames of an I-frame playlist, for fast winding and previews."""
    return _head("VOD", target_s, "#EXT-X-I-FRAMES-ONLY", init_uri, [])


def segment_lines(uri: str, segments: Iterable[Segment]) -> str:
    """Write the lines of one chunk's segments, all byte ranges of its object."""
    lines = [
        f"#EXTINF:{float(segment.duration_s):.6f},\n#EXT-X-BYTERANGE:{segment.length}@{segment.offset}\n{uri}\n"
        for segment in segments
    ]
    return "".join(lines)


def master_playlist(
    variants: Sequence[Variant], sound: Sound | None, *, fps: float, prefix: str = "", language: str = "und"
) -> str:
    """Write the multivariant playlist; `prefix` stands before each child's URI, `language` is a BCP 47 tag.

    A player begins with the first variant, so that is a middling one.
    """
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if sound:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",LANGUAGE={_quoted(language)},DEFAULT=YES,'
            f'AUTOSELECT=YES,CHANNELS="{sound.channels}",URI={_quoted(f"{prefix}audio.m3u8")}'
        )
    for variant in starting_order(variants):
        lines += [_variant(variant, sound, f"{fps:.3f}"), f"{prefix}{variant.name}.m3u8"]
    lines += [_iframe_variant(variant, prefix) for variant in variants if variant.iframe_peak_bps]
    return "\n".join([*lines, ""])


def starting_order(variants: Sequence[Variant]) -> list[Variant]:
    """Put the best variant of at most 720 lines first, where there is one; the others keep their order."""
    middling = [each for each in variants if min(each.width, each.height) <= _FIRST_LINES]
    if not middling:
        return list(variants)
    first = max(middling, key=lambda each: each.width * each.height)
    return [first, *(each for each in variants if each is not first)]


def _head(kind: str, target_s: int, says: str, init_uri: str, more: Sequence[str]) -> str:
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target_s}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-PLAYLIST-TYPE:{kind}",
        says,
        *more,
        f'#EXT-X-MAP:URI="{init_uri}"',
    ]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Write a quoted-string (RFC 8216, 4.2), which can hold neither quotes nor line breaks."""
    return '"' + "".join(c for c in text if c.isprintable() and c != '"') + '"'


def _variant(variant: Variant, sound: Sound | None, rate: str) -> str:
    codecs = ",".join([variant.codecs, *([sound.codecs] if sound else [])])
    average = f"AVERAGE-BANDWIDTH={variant.average_bps}," if variant.average_bps else ""
    return (
        f'#EXT-X-STREAM-INF:BANDWIDTH={variant.peak_bps},{average}CODECS="{codecs}",'
        f"RESOLUTION={variant.width}x{variant.height},FRAME-RATE={rate},"
        f"CLOSED-CAPTIONS=NONE{',AUDIO=' + _quoted('audio') if sound else ''}"
    )


def _iframe_variant(variant: Variant, prefix: str) -> str:
    uri = _quoted(f"{prefix}{variant.name}.iframes.m3u8")
    return (
        f"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={variant.iframe_peak_bps},"
        f'AVERAGE-BANDWIDTH={variant.iframe_average_bps},CODECS="{variant.codecs}",'
        f"RESOLUTION={variant.width}x{variant.height},URI={uri}"
    )
