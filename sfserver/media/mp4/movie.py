"""The `moov` of both views of the same fragments: a CMAF track's and the progressive file's.

Boxes are ISO/IEC 14496-12 unless another part is named. Durations are 64-bit everywhere (version 1).
"""

import struct
from dataclasses import dataclass

import numpy as np

from sfserver.media.contract import AudioPlan, PicturePlan, Rung
from sfserver.media.mp4.boxes import build_box, build_full_box
from sfserver.media.mp4.tracks import TrackTable, Wide, run_lengths

VIDEO_TRACK, AUDIO_TRACK = 1, 2

_UNITY_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED = 0x55C4
_UNSPECIFIED = 2
_NO_COLOUR_SAID = (_UNSPECIFIED, _UNSPECIFIED, _UNSPECIFIED)


@dataclass(frozen=True)
class Track:
    """What a `trak` says besides its samples. Video has a size and `delay` ticks at the front that are not shown."""

    track_id: int
    timescale: int
    sample_entry: bytes
    width: int = 0
    height: int = 0
    delay: int = 0
    channels: int = 0


def video_track(rung: Rung, timescale: int, picture: PicturePlan, avcc: bytes, delay: int) -> Track:
    """Describe an H.264 track by its avcC record (ISO/IEC 14496-15, 5.4.2)."""
    colour = b""
    if (picture.primaries, picture.transfer, picture.matrix) != _NO_COLOUR_SAID:
        numbers = struct.pack(">4sHHHB", b"nclx", picture.primaries, picture.transfer, picture.matrix, 0)
        colour = build_box("colr", numbers)
    entry = build_box(
        "avc1",
        struct.pack(">6xH16xHHIIIH32xHh", 1, rung.width, rung.height, 72 << 16, 72 << 16, 0, 1, 24, -1),
        build_box("avcC", avcc),
        colour,
    )
    return Track(VIDEO_TRACK, timescale, entry, rung.width, rung.height, delay)


def audio_track(audio: AudioPlan, config: bytes) -> Track:
    """Describe an AAC track by its AudioSpecificConfig (ISO/IEC 14496-1, 7.2.6; 14496-14, 5.6).

    The rates it states are the planned ones: what is said before the first part is encoded holds after the last.
    """
    specific = struct.pack(">BB", 5, len(config)) + config
    # Object type 0x40 is MPEG-4 audio, stream type 5 is sound.
    decoder = struct.pack(">BB3xII", 0x40, 5 << 2 | 1, audio.bitrate_bps, audio.bitrate_bps)
    decoder = struct.pack(">BB", 4, len(decoder) + len(specific)) + decoder + specific
    stream = struct.pack(">HB", 0, 0) + decoder + struct.pack(">BBB", 6, 1, 2)
    rate = audio.sample_rate << 16 if audio.sample_rate < 1 << 16 else 0
    entry = build_box(
        "mp4a",
        struct.pack(">6xH8xHH4xI", 1, audio.channels, 16, rate),
        build_full_box("esds", 0, 0, struct.pack(">BB", 3, len(stream)), stream),
    )
    return Track(AUDIO_TRACK, audio.sample_rate, entry, channels=audio.channels)


def build_init(track: Track, ticks: int) -> bytes:
    """Build the init segment, `ftyp moov`, of a fragmented track that will last `ticks` (ISO/IEC 23000-19, 7.3)."""
    tables = [build_full_box(kind, 0, 0, bytes(4)) for kind in ("stts", "stsc", "stco")]
    tables.append(build_full_box("stsz", 0, 0, bytes(8)))
    extends = build_box(
        "mvex",
        build_full_box("mehd", 1, 0, struct.pack(">Q", ticks)),
        build_full_box("trex", 0, 0, struct.pack(">5I", track.track_id, 1, 0, 0, 0)),
    )
    trak = _build_trak(track, tables, 0, 0)
    movie = build_box("moov", _build_mvhd(track.timescale, 0, track.track_id + 1), trak, extends)
    return build_box("ftyp", b"iso6", bytes(4), b"iso6cmfcdashmp41") + movie


def video_codecs(avcc: bytes) -> str:
    """Return the codecs string of an H.264 track: profile, constraints and level (RFC 6381, 3.3)."""
    return f"avc1.{avcc[1:4].hex().upper()}"


def audio_codecs(config: bytes) -> str:
    """Return the codecs string of an AAC track; the object type is the config's first five bits (14496-3, 1.6.2.1)."""
    return f"mp4a.40.{config[0] >> 3}"


def build_progressive_header(tracks: list[tuple[Track, TrackTable, Wide]]) -> bytes:
    """Build `ftyp moov` with full sample tables; the third of each track is where its chunks' data starts.

    The first track's timescale is the movie's.
    """
    timescale = tracks[0][0].timescale
    traks, durations = [], []
    for track, table, offsets in tracks:
        durations.append(-(-table.ticks * timescale // track.timescale))
        traks.append(_build_trak(track, _build_sample_tables(table, offsets), durations[-1], table.ticks))
    header = _build_mvhd(timescale, max(durations), tracks[-1][0].track_id + 1)
    return build_box("ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41") + build_box("moov", header, *traks)


def _build_sample_tables(table: TrackTable, offsets: Wide) -> list[bytes]:
    """Build the tables of 8.6 and 8.7; a chunk is a fragment's run of samples."""
    tables = [_table_box("stts", *run_lengths(table.durations))]
    if table.composition_offsets.any():
        tables.append(_table_box("ctts", *run_lengths(table.composition_offsets)))
    if not table.sync.all():
        tables.append(_table_box("stss", np.flatnonzero(table.sync) + 1))
    repeats, samples = run_lengths(table.fragment_samples)
    firsts = np.cumsum(repeats) - repeats + np.uint64(1)
    tables.append(_table_box("stsc", firsts, samples, np.ones_like(samples)))
    sizes = struct.pack(">II", 0, len(table.sizes))
    tables.append(build_full_box("stsz", 0, 0, sizes, table.sizes.astype(">u4").tobytes()))
    tables.append(build_full_box("co64", 0, 0, struct.pack(">I", len(offsets)), offsets.astype(">u8").tobytes()))
    return tables


def _table_box(kind: str, *columns: np.ndarray) -> bytes:
    rows = np.stack(columns, axis=1).astype(">u4")
    return build_full_box(kind, 0, 0, struct.pack(">I", len(rows)), rows.tobytes())


def _build_mvhd(timescale: int, duration: int, next_track: int) -> bytes:
    head = struct.pack(">16xIQIH10x", timescale, duration, 0x10000, 0x100)
    return build_full_box("mvhd", 1, 0, head, _UNITY_MATRIX, struct.pack(">24xI", next_track))


def _build_trak(track: Track, tables: list[bytes], movie_duration: int, media_duration: int) -> bytes:
    is_video = track.width > 0
    volume = 0 if is_video else 0x100
    tkhd = struct.pack(">16xI4xQ8xHHH2x", track.track_id, movie_duration, 0, 0, volume)
    size = struct.pack(">II", track.width << 16, track.height << 16)
    handler, name = (b"vide", b"Video\0") if is_video else (b"soun", b"Sound\0")
    media = build_full_box("vmhd", 0, 1, bytes(8)) if is_video else build_full_box("smhd", 0, 0, bytes(4))
    edits = build_full_box("elst", 1, 0, struct.pack(">IQqHH", 1, movie_duration, track.delay, 1, 0))
    return build_box(
        "trak",
        build_full_box("tkhd", 1, 3, tkhd, _UNITY_MATRIX, size),
        build_box("edts", edits) if track.delay else b"",
        build_box(
            "mdia",
            build_full_box("mdhd", 1, 0, struct.pack(">16xIQH2x", track.timescale, media_duration, _UNDETERMINED)),
            build_full_box("hdlr", 0, 0, struct.pack(">4x4s12x", handler), name),
            build_box(
                "minf",
                media,
                build_box("dinf", build_full_box("dref", 0, 0, struct.pack(">I", 1), build_full_box("url ", 0, 1))),
                build_box("stbl", build_full_box("stsd", 0, 0, struct.pack(">I", 1), track.sample_entry), *tables),
            ),
        ),
    )
