"""The DASH manifest, checked against the files it points to and by FFmpeg's own reader."""

import subprocess
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from sfserver.media.contract import Rational
from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.dash import Representation, dash_manifest
from sfserver.media.mp4.fragments import read_fragment
from tests.media.packaged import Packaged
from tests.media.ranges import serve
from tests.requirements import require_tool

NAMES = ("720p", "360p", "main")
SPACE = {"d": "urn:mpeg:dash:schema:mpd:2011"}


def find(root: Element, path: str) -> Element:
    found = root.find(path, SPACE)
    assert found is not None
    return found


def numbers(elements: list[Element], name: str) -> list[int]:
    return [int(element.get(name, "")) for element in elements]


def representation(manifest: str, name: str) -> Element:
    return find(fromstring(manifest.encode()), f".//d:Representation[@id='{name}']")


def segments_of(published: Path, one: Element) -> list[bytes]:
    found = []
    for url in one.iterfind(".//d:SegmentURL", SPACE):
        first, last = map(int, url.get("mediaRange", "").split("-"))
        found.append((published / "dash" / url.get("media", "")).read_bytes()[first : last + 1])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_ranges_are_the_whole_track_behind_its_header(packaged: Packaged, published: Path, name: str) -> None:
    one = representation(packaged.manifest(), name)
    header = find(one, ".//d:Initialization").get("sourceURL", "")
    init = (published / "dash" / header).read_bytes()
    assert [box.kind for box in iter_boxes(init)] == ["ftyp", "moov"]
    assert init + b"".join(segments_of(published, one)) == packaged.track(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_timeline_says_when_each_range_begins_and_how_long_it_lasts(
    packaged: Packaged, published: Path, name: str
) -> None:
    one = representation(packaged.manifest(), name)
    times = one.findall(".//d:S", SPACE)
    begun, lasting = numbers(times, "t"), numbers(times, "d")
    segments = segments_of(published, one)
    assert all(set(each.attrib) == {"t", "d"} for each in times)
    for t, d, data in zip(begun, lasting, segments, strict=True):
        fragments = [read_fragment(data[box.start :]) for box in iter_boxes(data) if box.kind == "moof"]
        assert (fragments[0].base_decode_time, sum(fragment.ticks for fragment in fragments)) == (t, d)
    scale = int(find(one, "d:SegmentList").get("timescale", ""))
    assert sum(lasting) / scale == pytest.approx(13.2, abs=0.025)
    order = [child.tag.partition("}")[2] for child in find(one, "d:SegmentList")]
    # ISO/IEC 23009-1, 5.3.9.2.3: a sequence, in this order.
    assert order == ["Initialization", "SegmentTimeline", *["SegmentURL"] * len(segments)]


def test_representations_of_the_picture_are_aligned(packaged: Packaged) -> None:
    times = [
        numbers(representation(packaged.manifest(), name).findall(".//d:S", SPACE), "t") for name in ("720p", "360p")
    ]
    assert times[0] == times[1] == [0, 150_000, 300_000, 450_000, 750_000]


def test_what_a_player_chooses_by_is_said(packaged: Packaged) -> None:
    mpd = fromstring(packaged.manifest(language='d"e').encode())
    assert mpd.get("mediaPresentationDuration") == "PT13.200S"
    assert (mpd.get("type"), mpd.get("profiles")) == ("static", "urn:mpeg:dash:profile:isoff-main:2011")
    sets = mpd.findall(".//d:AdaptationSet", SPACE)
    assert [(each.get("contentType"), each.get("lang")) for each in sets] == [("video", None), ("audio", 'd"e')]
    top = find(sets[0], "d:Representation")
    assert (top.get("width"), top.get("height"), top.get("frameRate")) == ("320", "180", "25/1")
    assert top.get("bandwidth") == str(packaged.result.tracks["720p"].peak_bps)
    assert top.get("codecs", "").startswith("avc1.4D40")
    sound = find(sets[1], "d:Representation")
    assert (sound.get("audioSamplingRate"), sound.get("codecs")) == ("48000", "mp4a.40.2")


def test_a_silent_video_has_pictures_alone(silent: Packaged) -> None:
    mpd = fromstring(silent.manifest().encode())
    assert [each.get("contentType") for each in mpd.iterfind(".//d:AdaptationSet", SPACE)] == ["video"]
    assert find(mpd, ".//d:Representation").get("frameRate") == "24000/1001"
    assert numbers(mpd.findall(".//d:S", SPACE), "d") == [48 * 1001, 61 * 1001]


def test_a_prefix_stands_before_every_url_and_is_quoted(packaged: Packaged) -> None:
    mpd = fromstring(packaged.manifest('/m/x?a=1&b="').encode())
    urls = [each.get("media", "") for each in mpd.iterfind(".//d:SegmentURL", SPACE)]
    urls += [each.get("sourceURL", "") for each in mpd.iterfind(".//d:Initialization", SPACE)]
    assert len(urls) == 5 + 5 + 6 + 3
    assert all(url.startswith('/m/x?a=1&b="') for url in urls)


def test_a_name_cannot_break_out_of_its_quotes() -> None:
    one = Representation('a"><x', "avc1.64001E", 1, 1000, "i?a&b", [], 2, 2)
    mpd = fromstring(dash_manifest([one], None, duration_s=1, fps=Rational(25, 1)).encode())
    assert find(mpd, ".//d:Representation").get("id") == 'a"><x'


@pytest.mark.parametrize(("stream", "packets"), [("v:0", 330), ("v:1", 330), ("a:0", 618)])
def test_ffmpeg_finds_every_frame_of_every_track(published: Path, stream: str, packets: int) -> None:
    options = ["-v", "error", "-select_streams", stream, "-show_entries", "packet=pts", "-of", "csv=p=0"]
    with serve(published) as url:
        command = [require_tool("ffprobe"), *options, f"{url}/dash/manifest.mpd"]
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert found.stderr == ""
    step = 1024 if stream == "a:0" else 3000
    assert sorted(int(line.strip(",")) for line in found.stdout.split()) == [n * step for n in range(packets)]
