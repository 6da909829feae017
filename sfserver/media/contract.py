"""The values that cross the sandbox wall: what a stage gets and what it gives back, all JSON-able.

Frames are counted on the *grid*: output frame `n` is shown from `n / fps` on. Times without a unit in their name
are ticks of the track they belong to.
"""

from dataclasses import dataclass, field

from sfserver import settings

MediaLimits = settings.MediaLimits  # one type from the environment to the decoder


@dataclass(frozen=True)
class Rational:
    """An exact ratio (frame rate, sample aspect ratio)."""

    num: int
    den: int


@dataclass(frozen=True)
class VideoFacts:
    """The picture stream as probed. `width`/`height` are coded, `display_*` after aspect ratio and rotation."""

    codec: str
    width: int
    height: int
    display_width: int
    display_height: int
    sar: Rational
    rotation: int
    pix_fmt: str
    frames: int
    first_pts_s: float
    average_fps: float
    bitrate_bps: int
    keyframes: int
    seekable: bool = True


@dataclass(frozen=True)
class AudioFacts:
    """The sound stream as probed. `bitrate_bps` is 0 where nobody knows."""

    codec: str
    sample_rate: int
    channels: int
    bitrate_bps: int
    first_pts_s: float


@dataclass(frozen=True)
class MediaWarning:
    """Something to tell the user that does not stop the job."""

    code: str
    detail: str


@dataclass(frozen=True)
class SourceFacts:
    """What is in the file. `duration_s` is measured from packets, `container_duration_s` is what the header claims."""

    container: str
    size_bytes: int
    duration_s: float
    container_duration_s: float | None
    video: VideoFacts
    audio: AudioFacts | None
    streams: int


@dataclass(frozen=True)
class Rung:
    """One quality: size, rate cap and exact encoder settings. `options` go to the codec as they stand."""

    name: str
    width: int
    height: int
    maxrate_bps: int
    encoder: str
    options: dict[str, str]
    reason: str


@dataclass(frozen=True)
class ChunkSpec:
    """Output frames `start_frame` ≤ n < `end_frame`, whole GOPs but for the last; `source_bytes` hold that picture.

    `rungs` are the names of those that one task encodes, all where there are none; `source_bytes` is then their share.
    """

    index: int
    start_frame: int
    end_frame: int
    source_bytes: int = 0
    rungs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StorageBudget:
    """What the pictures of all rungs together may take, and the source's: its bytes, and the chunks they are cut into.

    Nothing is limited where `source_bytes` is 0. `expected_bytes` is what all rungs would take at the best quality, as
    far as the plan can tell.
    """

    allowed_bytes: int = 0
    source_bytes: int = 0
    chunks: int = 1
    expected_bytes: int = 0


@dataclass(frozen=True)
class AudioPlan:
    """One AAC run for all rungs; `part_ends` are the GOP indices (exclusive) at which a part is handed over."""

    stream_index: int
    bitrate_bps: int
    sample_rate: int
    channels: int
    frames: int
    part_ends: list[int]


@dataclass(frozen=True)
class PicturePlan:
    """How a decoded picture becomes the top rung's: clockwise `rotation`, and colour numbers of ISO/IEC 23091-2.

    `sequential`: the container's times are not to be trusted, so the index counts decoded frames instead.
    """

    rotation: int = 0
    deinterlace: bool = False
    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    sequential: bool = False


@dataclass(frozen=True)
class EncodePlan:
    """Everything the encode, audio and package stages need; made once by `probe`, the same for every retry.

    `origin` is the source time, in seconds, that output frame 0 and audio sample 0 stand for. Segments hold
    `segment_gops` GOPs, those of the first `opening_gops`, each a chunk of its own, one; none reaches beyond its chunk.
    """

    fps: Rational
    timescale: int
    frame_ticks: int
    gop_frames: int
    frames: int
    video_stream_index: int
    rungs: list[Rung]
    chunks: list[ChunkSpec]
    audio: AudioPlan | None
    reasons: list[str]
    segment_gops: int = 2
    opening_gops: int = 0
    picture: PicturePlan = PicturePlan()
    origin: Rational = Rational(0, 1)
    budget: StorageBudget = StorageBudget()


@dataclass(frozen=True)
class ProbeResult:
    """`index_file` is the frame index, a file name in the stage's work directory."""

    facts: SourceFacts
    plan: EncodePlan
    index_file: str
    warnings: list[MediaWarning] = field(default_factory=list)


@dataclass(frozen=True)
class TrackPart:
    """A run of `moof mdat` fragments in `file`, one per GOP; `codec_config` is avcC or AudioSpecificConfig as hex.

    Decode times lie on the grid from 0 on; frames are presented `delay_ticks` later than the grid says (an edit list
    takes it back), so that no composition offset is negative. 0 for audio. `table` is the part's sample table
    (`mp4.tracks.TrackTable.pack`) in base 64.
    """

    file: str
    size_bytes: int
    samples: int
    first_gop: int
    fragments: int
    codec_config: str
    delay_ticks: int = 0
    table: str = field(default="", repr=False)


@dataclass(frozen=True)
class ChunkResult:
    """One encoded chunk: a part per rung name, made at quality `crf`.

    `concealed_frames` could not be decoded and repeat their predecessor.
    """

    parts: dict[str, TrackPart]
    fingerprint: str
    decoded_frames: int
    duplicated_frames: int
    concealed_frames: int
    crf: float = 23.5


@dataclass(frozen=True)
class AudioResult:
    """What the audio run came to once all its parts were handed over."""

    parts: int
    samples: int
    silence_inserted_s: float
    concealed_s: float


@dataclass(frozen=True)
class TrackFacts:
    """What packaging measured of a track: its bytes, its rates over segments (bit/s), and those of its sync frames.

    `head_bytes` of `ftyp moov` and the `mdat` header stand first in the progressive file of `progressive_bytes`; 0 for
    sound, which has none of its own.
    """

    size_bytes: int
    average_bps: int
    peak_bps: int
    iframe_average_bps: int = 0
    iframe_peak_bps: int = 0
    head_bytes: int = 0
    progressive_bytes: int = 0


@dataclass(frozen=True)
class PackageResult:
    """What packaging found out, by track name, and the heads of the progressive files it wrote, by rung."""

    tracks: dict[str, TrackFacts]
    heads: dict[str, str]
    warnings: list[MediaWarning] = field(default_factory=list)
