"""What the headers say is what players read."""

import io
from dataclasses import replace
from fractions import Fraction

import av
import pytest

from sfserver.media.contract import AudioPlan, PicturePlan, Rung
from sfserver.media.mp4.boxes import find_box, iter_boxes
from sfserver.media.mp4.movie import audio_codecs, audio_track, build_init, video_codecs, video_track
from tests.media.encoded import SOUND
from tests.media.packaged import Packaged

RUNG = Rung("360p", 640, 360, 1_000_000, "libx264", {}, "")
AVCC = bytes.fromhex("014d401effe100")
HEARD = AudioPlan(1, 128_000, 44_100, 1, 0, [])


def find(data: bytes, path: str) -> bytes:
    box = find_box(data, path)
    return data[box.body : box.end]


def test_colour_is_written_only_when_something_is_known() -> None:
    plain = video_track(RUNG, 90_000, PicturePlan(), AVCC, 3000)
    coloured = video_track(RUNG, 90_000, PicturePlan(matrix=1, primaries=9, transfer=16), AVCC, 3000)
    assert b"colr" not in plain.sample_entry
    assert coloured.sample_entry.endswith(b"\0\0\0\x13colrnclx\0\x09\0\x10\0\x01\0")


def test_a_sample_entry_holds_size_and_decoder_record() -> None:
    entry = find(video_track(RUNG, 90_000, PicturePlan(), AVCC, 0).sample_entry, "avc1")
    assert (entry[24:26], entry[26:28]) == ((640).to_bytes(2), (360).to_bytes(2))
    assert entry.endswith(b"\0\0\0\x0favcC" + AVCC)


@pytest.mark.parametrize(("rate", "written"), [(44_100, 44_100 << 16), (96_000, 0)])
def test_a_rate_of_more_than_16_bits_is_left_to_the_decoder(rate: int, written: int) -> None:
    track = audio_track(replace(HEARD, sample_rate=rate), b"\x11\x88")
    entry = find(track.sample_entry, "mp4a")
    assert (entry[16:18], entry[24:28]) == (b"\0\1", written.to_bytes(4))
    assert track.timescale == rate


def test_descriptors_nest_by_their_lengths() -> None:
    entry = find(audio_track(HEARD, b"\x12\x08").sample_entry, "mp4a")
    esds = entry[28 + 8 + 4 :]
    assert (esds[0], esds[1]) == (3, len(esds) - 2)
    assert (esds[5], esds[7:9]) == (4, b"\x40\x15")
    assert (128_000).to_bytes(4) * 2 + b"\x05\x02\x12\x08" in esds


def test_the_edit_list_takes_the_delay_away() -> None:
    header = build_init(video_track(RUNG, 90_000, PicturePlan(), AVCC, 3000), 1)
    assert find(header, "moov/trak/edts/elst")[16:24] == (3000).to_bytes(8)
    undelayed = build_init(video_track(RUNG, 90_000, PicturePlan(), AVCC, 0), 1)
    with pytest.raises(ValueError, match="no edts"):
        find_box(undelayed, "moov/trak/edts")


def test_a_track_header_tells_the_whole_duration() -> None:
    header = build_init(audio_track(HEARD, b"\x12\x08"), 1 << 33)
    assert find(header, "moov/mvex/mehd")[4:] == (1 << 33).to_bytes(8)


def test_an_init_segment_holds_no_samples_and_says_so() -> None:
    header = build_init(video_track(RUNG, 90_000, PicturePlan(), AVCC, 3000), 90_000)
    assert [box.kind for box in iter_boxes(header)] == ["ftyp", "moov"]
    assert find(header, "ftyp")[:8] == b"iso6" + bytes(4)
    assert b"cmfc" in find(header, "ftyp")
    for table in ("stts", "stsc", "stco"):
        assert find(header, f"moov/trak/mdia/minf/stbl/{table}") == bytes(8)
    assert find(header, "moov/trak/mdia/minf/stbl/stsz") == bytes(12)
    assert find(header, "moov/mvex/trex")[4:12] == (1).to_bytes(4) * 2


def test_what_is_said_before_the_first_part_is_encoded_holds_after_the_last(packaged: Packaged) -> None:
    plan = packaged.plan
    assert plan.audio is not None
    for name, parts in packaged.encoded.tracks.items():
        ticks = sum(stored.table.ticks for stored in parts)
        mehd = find(packaged.init(name), "moov/mvex/mehd")
        assert int.from_bytes(mehd[4:]) == ticks
    entry = find(packaged.init(SOUND), "moov/trak/mdia/minf/stbl/stsd")
    assert plan.audio.bitrate_bps.to_bytes(4) * 2 in entry


@pytest.mark.parametrize(
    ("avcc", "codecs"),
    [("0164001effe1", "avc1.64001E"), ("014d401effe1", "avc1.4D401E"), ("0142c00dffe1", "avc1.42C00D")],
)
def test_codecs_name_profile_constraints_and_level(avcc: str, codecs: str) -> None:
    assert video_codecs(bytes.fromhex(avcc)) == codecs


def test_codecs_of_sound_name_its_object_type(packaged: Packaged) -> None:
    assert audio_codecs(b"\x11\x90") == "mp4a.40.2"
    assert audio_codecs(b"\x2b\x11\x88\x00") == "mp4a.40.5"
    assert packaged.codecs(SOUND) == "mp4a.40.2"


@pytest.mark.parametrize("name", ["720p", "360p"])
def test_codecs_are_those_that_a_decoder_finds(packaged: Packaged, name: str) -> None:
    with av.open(io.BytesIO(packaged.track(name)), "r") as container:
        stream = container.streams.video[0]
        # ITU-T H.264, A.2.2: profile_idc 77 is Main.
        assert (stream.profile, stream.codec_context.codec_tag) == ("Main", "avc1")
        level = packaged.codecs(name)[-2:]
        assert bytes(stream.codec_context.extradata or b"")[1:4].hex().upper() == f"4D40{level}"


def test_the_progressive_header_says_what_the_streams_are(packaged: Packaged) -> None:
    plan = packaged.plan
    with av.open(io.BytesIO(packaged.progressive("720p")), "r") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.frames, video.start_time) == (320, 180, plan.frames, 0)
        assert (video.average_rate, video.time_base) == (Fraction(plan.fps.num), Fraction(1, plan.timescale))
        assert (audio.codec_context.sample_rate, audio.codec_context.channels, audio.start_time) == (48_000, 2, 0)
        assert container.duration == pytest.approx(13.2e6, abs=25_000)
        config = packaged.encoded.tracks[SOUND][0].part.codec_config
        assert bytes(audio.codec_context.extradata or b"").hex() == config
