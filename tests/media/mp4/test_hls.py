"""The playlists hold to Apple's authoring rules, checked against the bytes they point to."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.contract import RenditionFacts
from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.fragments import Fragment, read_fragment
from sfserver.media.mp4.hls import master_playlist, media_playlist, starting_order
from sfserver.media.mp4.segments import Segment, average_bps, peak_bps, target_duration
from tests.media.encoded import Packaged

QUALITIES = ("720p", "360p")


@dataclass(frozen=True)
class Listed:
    duration_s: float
    data: bytes


def parse(made: Packaged, name: str) -> tuple[list[str], bytes, list[Listed]]:
    """Read a media playlist: its tags, the map's bytes and every segment's."""
    lines = (made.root / "hls" / name).read_text().splitlines()
    tags = [line for line in lines if line.startswith("#EXT") and not line.startswith(("#EXTINF", "#EXT-X-BYTER"))]
    init = re.search(r'#EXT-X-MAP:URI="(.+)",BYTERANGE="(\d+)@0"', "\n".join(lines))
    assert init
    file = made.root / "hls" / init[1]
    segments = []
    for duration, length, offset, uri in re.findall(
        r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n(.+)", "\n".join(lines)
    ):
        assert uri == init[1]
        segments.append(Listed(float(duration), file.read_bytes()[int(offset) : int(offset) + int(length)]))
    return tags, file.read_bytes()[: int(init[2])], segments


def fragments(segment: Listed) -> list[Fragment]:
    return [read_fragment(segment.data[box.start :]) for box in iter_boxes(segment.data) if box.kind == "moof"]


@pytest.mark.parametrize("name", ["720p.m3u8", "360p.m3u8", "audio.m3u8"])
def test_a_vod_playlist_is_whole(packaged: Packaged, name: str) -> None:
    tags, init, segments = parse(packaged, name)
    assert tags == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        next(tag for tag in tags if tag.startswith("#EXT-X-MAP")),
        "#EXT-X-ENDLIST",
    ]
    assert [box.kind for box in iter_boxes(init)] == ["ftyp", "moov"]
    assert sum(segment.duration_s for segment in segments) == pytest.approx(5.2, abs=0.025)


@pytest.mark.parametrize("name", ["720p.m3u8", "360p.m3u8", "audio.m3u8"])
def test_segments_are_the_whole_track_without_a_gap(packaged: Packaged, name: str) -> None:
    _, _, segments = parse(packaged, name)
    track = packaged.root / ("a/main.mp4" if name == "audio.m3u8" else f"v/{name.removesuffix('.m3u8')}.mp4")
    assert track.read_bytes().endswith(b"".join(segment.data for segment in segments))
    time = 0
    for fragment in (fragment for segment in segments for fragment in fragments(segment)):
        assert fragment.base_decode_time == time
        time += fragment.ticks


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_segment_begins_with_a_sync_frame(packaged: Packaged, quality: str) -> None:
    _, _, segments = parse(packaged, f"{quality}.m3u8")
    assert all(fragment.sync[0] for segment in segments for fragment in fragments(segment))
    assert [segment.duration_s for segment in segments] == [4.0, 1.2]


def test_segments_are_aligned_over_the_rungs(packaged: Packaged) -> None:
    times = [
        [
            [fragment.base_decode_time for fragment in fragments(segment)]
            for segment in parse(packaged, f"{name}.m3u8")[2]
        ]
        for name in QUALITIES
    ]
    assert times[0] == times[1]


@pytest.mark.parametrize("quality", QUALITIES)
def test_iframes_are_the_sync_frames_alone(packaged: Packaged, quality: str) -> None:
    tags, _, iframes = parse(packaged, f"{quality}.iframes.m3u8")
    assert "#EXT-X-I-FRAMES-ONLY" in tags
    assert [iframe.duration_s for iframe in iframes] == [2.0, 2.0, 1.2]
    for iframe in iframes:
        fragment = read_fragment(iframe.data)
        assert len(iframe.data) == fragment.data_start + fragment.sizes[0]


def attributes(line: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in re.findall(r'([A-Z-]+)=("[^"]*"|[^,]*)', line.partition(":")[2])}


def test_a_variant_says_what_apple_asks_for(packaged: Packaged) -> None:
    lines = master_playlist(packaged.result).splitlines()
    assert lines[:3] == ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    variants = {uri: attributes(line) for line, uri in pairwise(lines) if "STREAM-INF" in line}
    for quality, resolution in (("720p", "320x180"), ("360p", "160x90")):
        variant = variants[f"{quality}.m3u8"]
        assert (variant["RESOLUTION"], variant["FRAME-RATE"], variant["AUDIO"]) == (resolution, "25.000", "audio")
        assert re.fullmatch(r"avc1\.[0-9A-F]{6},mp4a\.40\.2", variant["CODECS"])
        assert variant["CLOSED-CAPTIONS"] == "NONE"


def test_sound_is_a_group_with_a_language(packaged: Packaged) -> None:
    (media,) = [attributes(line) for line in master_playlist(packaged.result).splitlines() if "EXT-X-MEDIA" in line]
    assert media == {
        "TYPE": "AUDIO",
        "GROUP-ID": "audio",
        "NAME": "Main",
        "LANGUAGE": "und",
        "DEFAULT": "YES",
        "AUTOSELECT": "YES",
        "CHANNELS": "2",
        "URI": "audio.m3u8",
    }


def test_without_sound_there_is_no_group(silent: Packaged) -> None:
    text = master_playlist(silent.result)
    assert "AUDIO" not in text
    assert "mp4a" not in text
    assert "FRAME-RATE=23.976" in text


def test_bandwidths_are_those_of_the_segments(packaged: Packaged) -> None:
    lines = master_playlist(packaged.result).splitlines()
    sound = [8 * len(each.data) / each.duration_s for each in parse(packaged, "audio.m3u8")[2]]
    for quality in QUALITIES:
        stated = attributes(lines[lines.index(f"{quality}.m3u8") - 1])
        segments = parse(packaged, f"{quality}.m3u8")[2]
        both = sum(len(each.data) for name in (quality, "audio") for each in parse(packaged, f"{name}.m3u8")[2])
        assert int(stated["AVERAGE-BANDWIDTH"]) == pytest.approx(8 * both / 5.2, rel=0.1)
        peak = 8 * len(segments[0].data) / segments[0].duration_s + sound[0]
        assert peak * 0.999 <= int(stated["BANDWIDTH"]) <= 1.1 * max(peak, int(stated["AVERAGE-BANDWIDTH"]))


def test_iframe_streams_are_listed_for_every_rung(packaged: Packaged) -> None:
    lines = [line for line in master_playlist(packaged.result).splitlines() if "I-FRAME-STREAM-INF" in line]
    streams = [attributes(line) for line in lines]
    assert [stream["URI"] for stream in streams] == ["720p.iframes.m3u8", "360p.iframes.m3u8"]
    assert all("mp4a" not in stream["CODECS"] for stream in streams)


def test_a_prefix_stands_before_every_uri(packaged: Packaged) -> None:
    text = master_playlist(packaged.result, "/m/x/")
    uris = re.findall(r'URI="(.*?)"', text) + [line for line in text.splitlines() if not line.startswith("#")]
    assert len(uris) == 5
    assert all(uri.startswith("/m/x/") for uri in uris)


def test_a_language_cannot_break_out_of_its_quotes(packaged: Packaged) -> None:
    text = master_playlist(packaged.result, language='de",URI="http://x/\n#EXT')
    assert len(text.splitlines()) == len(master_playlist(packaged.result).splitlines())
    assert 'LANGUAGE="de,URI=http://x/#EXT",DEFAULT' in text


@pytest.mark.parametrize(
    ("sizes", "order"),
    [
        ([(1920, 1080), (1280, 720), (640, 360)], [1, 0, 2]),
        ([(1080, 1920), (404, 720), (202, 360)], [1, 0, 2]),
        ([(640, 360)], [0]),
        ([(1920, 1080)], [0]),
    ],
)
def test_a_player_starts_with_a_middling_rung(
    packaged: Packaged, sizes: list[tuple[int, int]], order: list[int]
) -> None:
    facts: RenditionFacts = packaged.result.renditions[0]
    rungs = [replace(facts, width=width, height=height) for width, height in sizes]
    assert starting_order(rungs) == [rungs[i] for i in order]


def segment(duration_s: float, length: int) -> Segment:
    return Segment(Fraction(duration_s), 0, length)


def test_a_short_tail_is_no_peak_of_its_own() -> None:
    tail = [segment(4, 4000), segment(4, 4000), segment(0.5, 2000)]
    assert peak_bps(tail) == round(8 * 6000 / 4.5)
    assert peak_bps([segment(0.25, 1000)]) == average_bps([segment(0.25, 1000)]) == 32_000
    assert peak_bps([]) == average_bps([]) == 0


@given(st.lists(st.builds(segment, st.floats(0.1, 20), st.integers(1, 10**9)), min_size=1, max_size=30))
def test_no_segment_lasts_longer_than_the_target(segments: list[Segment]) -> None:
    text = media_playlist("x.mp4", 1, segments)
    target = int(text.split("TARGETDURATION:")[1].split()[0])
    assert target == target_duration(segments) >= 1
    assert all(float(each) < target + 0.5 + 1e-6 for each in re.findall(r"#EXTINF:([\d.]+),", text))
    assert peak_bps(segments) >= 0
