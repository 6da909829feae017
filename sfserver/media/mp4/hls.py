"""HLS playlists (RFC 8216) over the stored track files: byte ranges in, text out."""

from collections.abc import Sequence

from sfserver.media.contract import PackageResult, RenditionFacts
from sfserver.media.mp4.segments import Segment, target_duration

# The player starts here: good enough to look at, small enough to begin at once.
_FIRST_LINES = 720


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
