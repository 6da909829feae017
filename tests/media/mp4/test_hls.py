"""The playlists hold to Apple's authoring rules, checked against the bytes they point to and by FFmpeg's own reader."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.fragments import Fragment, read_fragment
from sfserver.media.mp4.hls import Variant, master_playlist, media_head, starting_order
from tests.media.encoded import SOUND
from tests.media.packaged import Packaged

QUALITIES = ("720p", "360p")
LISTS = ("720p", "360p", "audio")
TIMESCALES = {"720p": 75_000, "360p": 75_000, "audio": 48_000}


@dataclass(frozen=True)
class Listed:
    """A segment as the list has it, and the bytes that it points to."""

    uri: str
    duration_s: float
    data: bytes

    @property
    def fragments(self) -> list[Fragment]:
        return [read_fragment(self.data[box.start :]) for box in iter_boxes(self.data) if box.kind == "moof"]


def track_of(name: str) -> str:
    return SOUND if name == "audio" else name.removesuffix(".iframes")


def parse(root: Path, name: str) -> tuple[list[str], bytes, list[Listed]]:
    """Read a media playlist: its tags, the map's bytes and every segment's."""
    path = root / "hls" / f"{name}.m3u8"
    text = path.read_text()
    tags = [line for line in text.splitlines() if line.startswith("#EXT") and not re.match("#EXT(INF|-X-BYTER)", line)]
    init = re.search(r'#EXT-X-MAP:URI="(.+)"', text)
    assert init
    segments = []
    for duration, length, offset, uri in re.findall(r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n(.+)", text):
        data = (path.parent / uri).read_bytes()[int(offset) : int(offset) + int(length)]
        segments.append(Listed(uri, float(duration), data))
    return tags, (path.parent / init[1]).read_bytes(), segments


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("live", [False, True])
def test_a_playlist_is_whole(packaged: Packaged, published: Path, name: str, live: bool) -> None:
    tags, init, segments = parse(published, f"live/{name}" if live else name)
    root = "../../" if live else "../"
    path = "a/main" if name == "audio" else f"v/{name}"
    assert tags == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if live else 'VOD'}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        *(["#EXT-X-START:TIME-OFFSET=0.01,PRECISE=YES"] if live else []),
        f'#EXT-X-MAP:URI="{root}{path}/init.mp4"',
        "#EXT-X-ENDLIST",
    ]
    assert [box.kind for box in iter_boxes(init)] == ["ftyp", "moov"]
    assert b"".join(segment.data for segment in segments) == packaged.media(track_of(name))
    assert sum(segment.duration_s for segment in segments) == pytest.approx(13.2, abs=0.025)


@pytest.mark.parametrize("name", LISTS)
def test_segments_say_how_long_they_last_and_follow_each_other(published: Path, name: str) -> None:
    tags, _, segments = parse(published, name)
    time = 0
    for segment in segments:
        ticks = 0
        for fragment in segment.fragments:
            assert fragment.base_decode_time == time + ticks
            ticks += fragment.ticks
        assert segment.duration_s == pytest.approx(ticks / TIMESCALES[name], abs=1e-6)
        assert f"#EXT-X-TARGETDURATION:{4}" in tags
        assert int(segment.duration_s + 0.5) <= 4
        time += ticks


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_segment_begins_with_a_sync_frame(published: Path, quality: str) -> None:
    _, _, segments = parse(published, quality)
    assert all(fragment.sync[0] for segment in segments for fragment in segment.fragments)
    assert [segment.duration_s for segment in segments] == [2.0, 2.0, 2.0, 4.0, 3.2]


def test_segments_are_aligned_over_the_rungs(published: Path) -> None:
    times = [
        [[fragment.base_decode_time for fragment in segment.fragments] for segment in parse(published, name)[2]]
        for name in QUALITIES
    ]
    assert times[0] == times[1]


def test_no_segment_crosses_from_one_object_to_the_next(published: Path) -> None:
    uris = [segment.uri for segment in parse(published, "audio")[2]]
    assert uris == [f"../a/main/{number}.m4s" for number in (0, 0, 0, 1, 1, 2)]
    uris = [segment.uri for segment in parse(published, "720p")[2]]
    assert uris == [f"../v/720p/{number}.m4s" for number in range(5)]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("live", [False, True])
def test_a_list_that_grows_is_a_prefix_of_the_whole_at_every_moment(packaged: Packaged, name: str, live: bool) -> None:
    track = track_of(name)
    whole = packaged.playlist(track, live=live)
    grown = [packaged.playlist(track, live=live, chunks=n) for n in range(1 + len(packaged.encoded.tracks[track]))]
    for earlier, later in pairwise([*grown, whole]):
        assert later.startswith(earlier)
        assert "#EXT-X-ENDLIST" not in earlier
    assert whole == grown[-1] + "#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("quality", QUALITIES)
def test_iframes_are_the_sync_frames_alone(published: Path, quality: str) -> None:
    tags, _, iframes = parse(published, f"{quality}.iframes")
    assert "#EXT-X-I-FRAMES-ONLY" in tags
    assert "#EXT-X-INDEPENDENT-SEGMENTS" not in tags
    assert tags[-1] == "#EXT-X-ENDLIST"
    assert [iframe.duration_s for iframe in iframes] == [2.0] * 6 + [1.2]
    for iframe in iframes:
        fragment = read_fragment(iframe.data)
        assert len(iframe.data) == fragment.data_start + fragment.sizes[0]


def packets(path: Path) -> dict[str, list[tuple[int | None, bytes]]]:
    """Read all packets of a playlist as FFmpeg does, by kind of stream."""
    found: dict[str, list[tuple[int | None, bytes]]] = {}
    with av.open(str(path), options={"allowed_extensions": "ALL"}) as container:
        for packet in container.demux():
            if packet.size:
                found.setdefault(packet.stream.type, []).append((packet.pts, bytes(packet)))
    return found


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("folder", ["hls", "hls/live"])
def test_ffmpeg_finds_every_frame_in_a_list(
    packaged: Packaged, published: Path, tmp_path: Path, folder: str, name: str
) -> None:
    whole = tmp_path / "track.mp4"
    whole.write_bytes(packaged.track(track_of(name)))
    found, wanted = packets(published / folder / f"{name}.m3u8"), packets(whole)
    assert found == wanted
    assert len(found["audio" if name == "audio" else "video"]) == (618 if name == "audio" else 330)


@pytest.mark.parametrize("quality", QUALITIES)
def test_ffmpeg_decodes_every_frame_of_a_list(packaged: Packaged, published: Path, quality: str) -> None:
    with av.open(str(published / f"hls/{quality}.m3u8"), options={"allowed_extensions": "ALL"}) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert times == [n * packaged.plan.frame_ticks for n in range(330)]


def test_ffmpeg_finds_all_tracks_in_the_master_playlist(published: Path) -> None:
    with av.open(str(published / "hls/master.m3u8"), options={"allowed_extensions": "ALL"}) as container:
        sizes = sorted((stream.width, stream.height) for stream in container.streams.video)
        assert sizes == [(160, 90), (320, 180)]
        assert len(container.streams.audio) == 1


def attributes(line: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in re.findall(r'([A-Z-]+)=("[^"]*"|[^,]*)', line.partition(":")[2])}


def variants_of(text: str) -> dict[str, dict[str, str]]:
    lines = text.splitlines()
    return {uri: attributes(line) for line, uri in pairwise(lines) if line.startswith("#EXT-X-STREAM-INF")}


def test_a_variant_says_what_apple_asks_for(packaged: Packaged) -> None:
    text = packaged.master()
    assert text.splitlines()[:3] == ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    variants = variants_of(text)
    for quality, resolution in (("720p", "320x180"), ("360p", "160x90")):
        variant = variants[f"{quality}.m3u8"]
        assert (variant["RESOLUTION"], variant["FRAME-RATE"], variant["AUDIO"]) == (resolution, "25.000", "audio")
        assert re.fullmatch(r"avc1\.[0-9A-F]{6},mp4a\.40\.2", variant["CODECS"])
        assert variant["CLOSED-CAPTIONS"] == "NONE"


def test_sound_is_a_group_with_a_language(packaged: Packaged) -> None:
    (media,) = [attributes(line) for line in packaged.master().splitlines() if "EXT-X-MEDIA" in line]
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
    text = silent.master()
    assert "AUDIO" not in text
    assert "mp4a" not in text
    assert "FRAME-RATE=23.976" in text


def rates(segments: Sequence[Listed], timescale: int) -> tuple[int, int]:
    """Measure average and peak rate from the bytes and their own times."""
    ticks = [sum(fragment.ticks for fragment in segment.fragments) for segment in segments]
    return average_and_peak([Fraction(each, timescale) for each in ticks], segments)


def average_and_peak(lengths: Sequence[Fraction], segments: Sequence[Listed]) -> tuple[int, int]:
    """Measure over every run of neighbours that lasts 0.5 to 1.5 target durations (RFC 8216, 4.1)."""
    sizes = [8 * len(segment.data) for segment in segments]
    runs = [(a, b) for a in range(len(sizes)) for b in range(a + 1, len(sizes) + 1) if 2 <= sum(lengths[a:b]) <= 6]
    peak = max(round(sum(sizes[a:b]) / sum(lengths[a:b])) for a, b in runs)
    return round(sum(sizes) / sum(lengths)), peak


def test_bandwidths_are_those_of_the_segments(packaged: Packaged, published: Path) -> None:
    variants, facts = variants_of(packaged.master()), packaged.result.tracks
    sound = rates(parse(published, "audio")[2], 48_000)
    assert sound == (facts[SOUND].average_bps, facts[SOUND].peak_bps)
    for quality in QUALITIES:
        average, peak = rates(parse(published, quality)[2], 75_000)
        assert (average, peak) == (facts[quality].average_bps, facts[quality].peak_bps)
        stated = variants[f"{quality}.m3u8"]
        assert int(stated["AVERAGE-BANDWIDTH"]) == average + sound[0]
        assert int(stated["BANDWIDTH"]) == peak + sound[1]


def test_iframe_streams_are_listed_for_every_rung(packaged: Packaged, published: Path) -> None:
    streams = [attributes(line) for line in packaged.master().splitlines() if "I-FRAME-STREAM-INF" in line]
    assert [stream["URI"] for stream in streams] == ["720p.iframes.m3u8", "360p.iframes.m3u8"]
    assert all("mp4a" not in stream["CODECS"] for stream in streams)
    for quality, stream in zip(QUALITIES, streams, strict=True):
        iframes = parse(published, f"{quality}.iframes")[2]
        measured = average_and_peak([Fraction(2)] * 6 + [Fraction(6, 5)], iframes)
        assert measured == (int(stream["AVERAGE-BANDWIDTH"]), int(stream["BANDWIDTH"]))


def test_before_anything_is_measured_a_variant_states_its_cap_alone() -> None:
    text = master_playlist([Variant("360p", 640, 360, "avc1.64001E", 1_128_000)], None, fps=30, prefix="live/")
    assert "BANDWIDTH=1128000,CODECS" in text
    assert "AVERAGE-BANDWIDTH" not in text
    assert "I-FRAME" not in text
    assert "\nlive/360p.m3u8\n" in text


def test_a_prefix_stands_before_every_uri(packaged: Packaged) -> None:
    text = packaged.master(prefix="/m/x/")
    uris = re.findall(r'URI="(.*?)"', text) + [line for line in text.splitlines() if not line.startswith("#")]
    assert len(uris) == 5
    assert all(uri.startswith("/m/x/") for uri in uris)


def test_a_language_cannot_break_out_of_its_quotes(packaged: Packaged) -> None:
    text = packaged.master(language='de",URI="http://x/\n#EXT')
    assert len(text.splitlines()) == len(packaged.master().splitlines())
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
def test_a_player_starts_with_a_middling_rung(sizes: list[tuple[int, int]], order: list[int]) -> None:
    variants = [Variant(f"{height}p", width, height, "avc1.64001E", 1) for width, height in sizes]
    assert starting_order(variants) == [variants[i] for i in order]
    text = master_playlist(variants, None, fps=25)
    assert list(variants_of(text)) == [f"{variants[i].name}.m3u8" for i in order]


def test_only_a_list_that_grows_asks_to_be_played_from_the_start() -> None:
    assert "#EXT-X-START" in media_head("init.mp4", 4, live=True)
    assert "#EXT-X-START" not in media_head("init.mp4", 4, live=False)
