# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 21 · MP4 boxes, sample tables and byte ranges
#
# **Goal.** An MP4 file looks like a wall of bytes. At the end of this notebook you can read one with thirty lines of
# Python, write one, and serve one *that does not exist*: a file whose head is stored, whose body is put together from
# two other files while somebody downloads it, and in which every player can seek.
#
# StreamForge keeps each encoded byte once: one file for the picture of each quality and one for the sound. HLS players
# read ranges of those files. A download, or a `<video src>`, wants one ordinary MP4. We derive how both come from the
# same bytes, first as a toy and then with `sfserver.media`, and assert that the two agree.

# %%
import bisect
import io
import itertools
import random
import struct
import timeit

import av
import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## A clip to take apart
#
# 4.5 seconds: a bright bar walks over a dark, grainy ground, and a tone. A **GOP** (group of pictures) is 20 frames
# = 2 s: one frame that stands alone and 19 that refer to others. Up to two *B-frames* in a row refer to a **later**
# frame, so the encoder has to send frames in another order than they are shown in. Remember this; it costs us a table.

# %%
FPS, GOP, FRAMES, WIDTH, HEIGHT, RATE = 10, 20, 45, 192, 128, 48_000


def picture(n: int) -> av.VideoFrame:
    image = np.random.default_rng(n // 4).integers(10, 50, (HEIGHT, WIDTH, 3), np.uint8)
    image[:, n * 6 % (WIDTH - 8) :][:, :8] = (240, 200, 90)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts = n
    return frame


def tone(start: int) -> av.AudioFrame:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / RATE)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), "fltp", "stereo")
    frame.sample_rate, frame.pts = RATE, start
    return frame


# %%
def make_clip() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"g": str(GOP), "bf": "2", "sc_threshold": "0", "x264-params": "b-pyramid=none"}
        video = container.add_stream(
            "libx264", rate=FPS, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p", options=options
        )
        audio = container.add_stream("aac", rate=RATE, layout="stereo", bit_rate=32_000)
        for n in range(FRAMES):
            container.mux(video.encode(picture(n)))
        for start in range(0, RATE * FRAMES // FPS, 1024):
            container.mux(audio.encode(tone(start)))
        container.mux([*video.encode(None), *audio.encode(None)])
    return file.getvalue()


# %%
clip = make_clip()
print(len(clip), "bytes, beginning with", clip[:24])

# %% [markdown]
# ## Everything is a box
#
# The whole grammar of the format fits in a sentence: *a file is a row of boxes, and a box is four bytes of size, four
# bytes of name and a body, which may be a row of boxes again.*
#
# ```
#  ┌──────┬──────┬───────────────────────────┐
#  │ size │ name │ body                      │   size counts itself and the name
#  └──────┴──────┴───────────────────────────┘
#    u32    4cc     size − 8 bytes
# ```
#
# Numbers are big-endian. A size of 1 means that the real one follows as 64 bits, which is how a file grows past 4 GiB.


# %%
def toy_boxes(data: bytes, start: int, end: int) -> list[tuple[str, int, int]]:
    found = []
    while start < end:
        size, name = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", data, start + 8)[0], start + 16
        found.append((name.decode(), body, start + size))
        start += size
    return found


toy_boxes(clip, 0, len(clip))

# %% [markdown]
# Which boxes hold boxes is not written in the file; a reader has to know. These do:

# %%
PARENTS = {"moov", "trak", "edts", "mdia", "minf", "dinf", "stbl", "mvex", "moof", "traf"}


def show(data: bytes, start: int, end: int, depth: int = 0) -> None:
    for name, body, stop in toy_boxes(data, start, end):
        print("   " * depth + name, stop - body)
        if name in PARENTS:
            show(data, body, stop, depth + 1)


show(clip, 0, len(clip))

# %% [markdown]
# `mdat` holds the encoded frames, nothing but their bytes, without a mark between them. Everything that makes sense of
# them is in `moov`. It comes last here because the muxer knew the sizes only when it was done: a player that reads
# from the front has to jump to the end first. A *faststart* file has `moov` in front.
#
# ### The class
#
# `sfserver.media.mp4.boxes` walks the same way, but believes nothing: a size must lie within its parent.

# %%
from sfserver.media.mp4.boxes import build_box, find_box, iter_boxes

assert [(box.kind, box.body, box.end) for box in iter_boxes(clip)] == toy_boxes(clip, 0, len(clip))

lie = struct.pack(">I4s", 4_000_000_000, b"moov")
try:
    list(iter_boxes(lie))
except ValueError as error:
    print("refused:", error)

# %% [markdown]
# ## From a time to a byte: the sample tables
#
# A **sample** is one encoded frame. To show second 3.2 a player needs to know which sample that is, where it lies, and
# from which sample on it has to decode. `stbl` answers with six small tables, each squeezed in its own way:
#
# | table | question | how it is squeezed |
# |---|---|---|
# | `stts` | how long does each sample last? | run lengths |
# | `ctts` | how much later is it shown than decoded? | run lengths |
# | `stss` | which samples stand alone? | a list of them |
# | `stsz` | how many bytes has each? | not at all |
# | `stsc` | how many samples lie together in a *chunk*? | run lengths over chunks |
# | `stco`/`co64` | where does each chunk begin? | not at all |


# %%
def trak_tables(data: bytes, number: int) -> dict[str, bytes]:
    moov = find_box(data, "moov")
    trak = [box for box in iter_boxes(data, moov.body, moov.end) if box.kind == "trak"][number]
    stbl = find_box(data, "mdia/minf/stbl", trak.body, trak.end)
    return {box.kind: data[box.body : box.end] for box in iter_boxes(data, stbl.body, stbl.end)}


def rows(table: bytes, columns: int, skip: int = 8) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack(f">{columns}I", table[skip:]))


video_tables = trak_tables(clip, 0)
print("stts", rows(video_tables["stts"], 2), "| stss", rows(video_tables["stss"], 1))
print("ctts", rows(video_tables["ctts"], 2)[:6], "…")
print("stsc", rows(video_tables["stsc"], 3), "| chunks", len(rows(video_tables["stco"], 1)))

# %% [markdown]
# Unfolding them is three short functions. First run lengths, then the one table that needs thought: `stsc` only has a
# row where the number of samples a chunk *changes*, and says from which chunk (counted from 1) on it holds.


# %%
def unfold(runs: list[tuple[int, ...]]) -> list[int]:
    return [value for count, value in runs for _ in range(count)]


def samples_per_chunk(stsc: list[tuple[int, ...]], chunks: int) -> list[int]:
    ends = [first for first, _, _ in stsc[1:]] + [chunks + 1]
    return [count for (first, count, _), end in zip(stsc, ends, strict=True) for _ in range(end - first)]


def sample_offsets(sizes: list[int], chunks: list[int], counts: list[int]) -> list[int]:
    offsets, sample = [], iter(sizes)
    for chunk, count in zip(chunks, counts, strict=True):
        lengths = list(itertools.islice(sample, count))
        offsets += [chunk + before for before in itertools.accumulate(lengths[:-1], initial=0)]
    return offsets


# %%
sizes = [size for (size,) in rows(video_tables["stsz"], 1, skip=12)]
chunks = [at for (at,) in rows(video_tables["stco"], 1)]
counts = samples_per_chunk(rows(video_tables["stsc"], 3), len(chunks))
offsets = sample_offsets(sizes, chunks, counts)
decode_times = [0, *itertools.accumulate(unfold(rows(video_tables["stts"], 2)))][:-1]
shown_times = [at + later for at, later in zip(decode_times, unfold(rows(video_tables["ctts"], 2)), strict=True)]

with av.open(io.BytesIO(clip)) as container:
    packets = [packet for packet in container.demux(video=0) if packet.size]
assert [bytes(packet) for packet in packets] == [clip[at : at + size] for at, size in zip(offsets, sizes, strict=True)]
print(len(packets), "samples found by hand, byte for byte what FFmpeg finds")

# %% [markdown]
# ### Two clocks
#
# Samples lie in *decoding* order. The plot shows what `ctts` is for: a P-frame is decoded first and shown after the
# B-frames that need it. No frame can be shown before it is decoded, so all are shown a little late; an **edit list**
# (`elst`) takes the delay away again. Forgetting it is how sound and picture get apart by two frames.

# %%
ticks = decode_times[1]
figure, axes = plt.subplots(1, 2)
axes[0].step(range(22), [at / ticks for at in decode_times[:22]], where="mid", color="grey", label="decoded")
axes[0].plot(range(22), [at / ticks for at in shown_times[:22]], "o", ms=4, label="shown")
axes[0].set(xlabel="sample in the file", ylabel="time (frames)")
axes[0].legend(frameon=False)
colours = ["C3" if packet.is_keyframe else "C0" for packet in packets]
axes[1].bar(range(len(sizes)), sizes, color=colours, width=1)
axes[1].set(xlabel="sample in the file", ylabel="bytes")
figure.tight_layout()
delay = min(shown_times)
print("every frame is shown", delay // ticks, "frame late; the edit list starts at tick", delay)

# %% [markdown]
# ## Fragments: boxes that need no end
#
# `moov` can be written only when all is known. That is no good for a film that is encoded in pieces on several
# machines and watched meanwhile. A **fragment** carries its own small tables:
#
# ```
#  moof ─ mfhd   which fragment is this
#       └ traf ─ tfhd   which track, and what all samples share
#              ├ tfdt   when does it begin
#              └ trun   a row a sample: size, (duration), (flags), (shown later by)
#  mdat   the samples' bytes
# ```
#
# One fragment holds one GOP. We take the clip's own samples apart into GOPs.

# %%
from sfserver.media.mp4.fragments import Sample, build_fragment, read_fragment

samples = [Sample(bytes(packet), ticks, packet.pts - packet.dts, packet.is_keyframe) for packet in packets]
gops = [samples[start : start + GOP] for start in range(0, FRAMES, GOP)]
assert all(gop[0].is_sync and not any(sample.is_sync for sample in gop[1:]) for gop in gops)
[len(gop) for gop in gops]

# %% [markdown]
# The toy writes exactly that tree. What all samples have in common (their duration; "refers to others") is said once
# in `tfhd`, the first frame's exception once in `trun`, and each row keeps only size and composition offset.


# %%
def full(name: str, version: int, flags: int, *numbers: int, layout: str = "") -> bytes:
    return build_box(name, struct.pack(f">I{layout or f'{len(numbers)}I'}", version << 24 | flags, *numbers))


def toy_fragment(sequence: int, start: int, gop: list[Sample]) -> bytes:
    table = [number for sample in gop for number in (len(sample.data), sample.composition_offset)]

    def moof(data_offset: int) -> bytes:
        tfhd = full("tfhd", 0, 0x020028, 1, ticks, 0x01010000)
        tfdt = full("tfdt", 1, 0, start, layout="Q")
        trun = full("trun", 0, 0x000A05, len(gop), data_offset, 0x02000000, *table)
        return build_box("moof", full("mfhd", 0, 0, sequence), build_box("traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + build_box("mdat", *(sample.data for sample in gop))


# %% [markdown]
# `trun` says where the first sample byte is, and that depends on how long `moof` is, which holds `trun`. The field has
# a fixed width, so we build twice. The same trick comes back for the big head below. Ours agree byte for byte:

# %%
starts = [k * GOP * ticks for k in range(len(gops))]
video_fragments = [
    build_fragment(track_id=1, sequence=2 * k + 1, base_decode_time=starts[k], samples=gop)
    for k, gop in enumerate(gops)
]
assert video_fragments == [toy_fragment(2 * k + 1, starts[k], gop) for k, gop in enumerate(gops)]
overhead = [read_fragment(fragment).data_start for fragment in video_fragments]
print("bytes of a fragment before its first sample:", overhead)

# %% [markdown]
# Sound the same way. Its first packet only warms the decoder up and is dropped; then sample 0 is time 0 and the sound
# needs no edit list. A sound sample belongs to the GOP in which it begins.

# %%
with av.open(io.BytesIO(clip)) as container:
    heard = [packet for packet in container.demux(audio=0) if packet.size and packet.pts >= 0]
    asc = bytes(container.streams.audio[0].codec_context.extradata)
    avcc = bytes(container.streams.video[0].codec_context.extradata)
    timescale = container.streams.video[0].time_base.denominator

audio_fragments, at = [], 0
for k in range(len(gops)):
    end = RATE * GOP * (k + 1) // FPS
    group = [packet for packet in heard if RATE * GOP * k // FPS <= packet.pts < end]
    tones = [Sample(bytes(packet), 1024, 0, True) for packet in group]
    audio_fragments.append(build_fragment(track_id=2, sequence=2 * k + 2, base_decode_time=at, samples=tones))
    at += 1024 * len(tones)
print("sound fragments:", [len(fragment) for fragment in audio_fragments], "bytes")

# %% [markdown]
# ## Two stored files …
#
# A track file is `ftyp moov sidx` and then the fragments. `moov` has no samples in it, only what they are; `sidx` says
# how long each fragment is. Joining pieces that were encoded on different machines is plain concatenation.

# %%
from sfserver.media.contract import AudioPlan, PicturePlan, Rung
from sfserver.media.mp4.movie import audio_track, build_sidx, build_track_header, video_track
from sfserver.media.mp4.tracks import TrackTable, run_lengths

rung = Rung("360p", WIDTH, HEIGHT, 0, "libx264", {}, "")
picture_track = video_track(rung, timescale, PicturePlan(), avcc, delay)
sound_track = audio_track(AudioPlan(1, 128_000, RATE, 2, 0, []), asc, 128_000)
picture_table, sound_table = (
    TrackTable.join(read_fragment(fragment) for fragment in fragments)
    for fragments in (video_fragments, audio_fragments)
)
run_lengths(picture_table.composition_offsets)[0][:6], run_lengths(picture_table.composition_offsets)[1][:6]

# %% [markdown]
# `run_lengths` is the inverse of our `unfold`:

# %%
folded = zip(*(column.tolist() for column in run_lengths(picture_table.composition_offsets)), strict=True)
assert unfold(list(folded)) == [sample.composition_offset for sample in samples]


def track_file(track: object, table: TrackTable, fragments: list[bytes]) -> tuple[bytes, int, int]:
    init, index = build_track_header(track, table.ticks), build_sidx(track, table)
    return b"".join([init, index, *fragments]), len(init), len(index)


video_file, *video_header = track_file(picture_track, picture_table, video_fragments)
audio_file, *audio_header = track_file(sound_track, sound_table, audio_fragments)
with av.open(io.BytesIO(video_file)) as container:
    print(sum(1 for _ in container.decode(video=0)), "frames play from the picture's file alone")

# %% [markdown]
# ## … and one that is not
#
# Here is the idea. A chunk offset in `co64` may point *anywhere* in the file, and what lies between the chunks does
# not matter. So let one huge `mdat` hold the stored fragments **as they are**, in time order, and let a classic `moov`
# point over the `moof` boxes straight at the samples:
#
# ```
#  stored      head   moov ──────────┬───────────┬──────────┐
#                                    ▼           ▼          ▼
#  virtual     [head][mdat: [moof v0 ▒▒▒▒▒][moof a0 ▒▒][moof v1 ▒▒▒▒▒][moof a1 ▒▒] …
#                           └ picture file ┘└ sound file┘└ picture file ┘
# ```
#
# Nobody ever writes that file. A request for some bytes of it is answered from the head and the two track files.

# %%
from sfserver.media.mp4.virtual import StoredTrack, VirtualFile, build_head, build_layout, read_spans

stored_video = StoredTrack(picture_track, picture_table, *video_header)
stored_audio = StoredTrack(sound_track, sound_table, *audio_header)
head, layout = build_head(stored_video, stored_audio), build_layout(stored_video, stored_audio)
show(head[: find_box(head, "moov").end], 0, find_box(head, "moov").end)
print(len(head), "bytes of head,", len(layout), "of layout; mdat says", struct.unpack(">I4sQ", head[-16:]))

# %% [markdown]
# ### The map, as a toy
#
# Write down the pieces in order with the place where each begins. A range is found by bisection: the piece it starts
# in, then on until its end.


# %%
def toy_pieces() -> list[tuple[str, int, int]]:
    pieces, at = [("head", 0, len(head))], {"video": sum(video_header), "audio": sum(audio_header)}
    for pair in zip(video_fragments, audio_fragments, strict=True):
        for part, fragment in zip(("video", "audio"), pair, strict=True):
            pieces.append((part, at[part], len(fragment)))
            at[part] += len(fragment)
    return pieces


# %%
def toy_map(pieces: list[tuple[str, int, int]], start: int, end: int) -> list[tuple[str, int, int]]:
    begins = [0, *itertools.accumulate(length for _, _, length in pieces)]
    spans = []
    for i in range(bisect.bisect_right(begins, start) - 1, bisect.bisect_left(begins, end)):
        first, last = max(start, begins[i]), min(end, begins[i + 1])
        spans.append((pieces[i][0], pieces[i][1] + first - begins[i], last - first))
    return spans


pieces = toy_pieces()
toy_map(pieces, len(head) - 5, len(head) + 4000)

# %% [markdown]
# ### The class, and that they agree
#
# `VirtualFile.load` needs only the head's size and the layout: four bytes a fragment, 29 KB for two hours.

# %%
virtual = VirtualFile.load(len(head), layout)
dice = random.Random(21)
for _ in range(2000):
    start, end = sorted(dice.sample(range(virtual.size + 1), 2))
    spans = [(span.part, span.offset, span.length) for span in virtual.map_range(start, end)]
    assert spans == toy_map(pieces, start, end)
print("2000 random ranges of", virtual.size, "bytes agree")

# %% [markdown]
# The chunk offsets agree too: where a fragment begins in the virtual file, plus its `moof` and its `mdat`'s header.

# %%
begins = [0, *itertools.accumulate(length for _, _, length in pieces)]
for number, (part, fragments) in enumerate((("video", video_fragments), ("audio", audio_fragments))):
    at_pieces = [begin for begin, piece in zip(begins, pieces, strict=False) if piece[0] == part]
    points = [begin + read_fragment(fragment).data_start for begin, fragment in zip(at_pieces, fragments, strict=True)]
    assert [offset for (offset,) in struct.iter_unpack(">Q", trak_tables(head, number)["co64"][8:])] == points
    print(part, points)

# %% [markdown]
# ### Does it play?
#
# Read all of it through the map and give it to FFmpeg. The frames are those of the clip we began with.

# %%
parts = {"head": head, "video": video_file, "audio": audio_file}
whole = read_spans(virtual.map_range(0, virtual.size), lambda part, at, length: parts[part][at : at + length])


def frames_of(data: bytes) -> list[bytes]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


assert frames_of(whole) == frames_of(clip)
with av.open(io.BytesIO(whole)) as container:
    container.seek(3_000_000)
    found = next(container.decode(video=0))
    print("asked for 3.0 s, landed on the sync frame at", found.time, "s of", container.duration / 1e6)

# %% [markdown]
# And here it is as a picture: grey is the head, then picture and sound take turns; the white slivers are the `moof`s
# that no table points at.

# %%
figure, axis = plt.subplots(figsize=(8, 1.3))
shades = {"head": "0.6", "video": "C0", "audio": "C1"}
for begin, (part, _, length) in zip(begins, pieces, strict=False):
    axis.barh(0, length, left=begin, color=shades[part])
    if part != "head":
        skipped = read_fragment(whole[begin : begin + length]).data_start
        axis.barh(0, skipped, left=begin, color="white", height=0.5)
axis.set(xlabel="byte of the virtual file", yticks=[])
figure.tight_layout()

# %% [markdown]
# ## Experiments
#
# **What does forgetting the edit list do?** Take `edts` out of the head (call it `free`, which readers skip) and the
# picture starts a frame late while the sound does not.


# %%
def first_frame_s(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(video=0)).time


without = whole.replace(b"edts", b"free", 1)
print("with edit list:", first_frame_s(whole), "s   without:", first_frame_s(without), "s")
assert first_frame_s(whole) == 0 < first_frame_s(without)

# %% [markdown]
# **How large is the head?** Every sample costs 4 bytes of `stsz`, reordered ones some of `ctts`; each chunk 8 bytes.
# For a film the head is what a player must fetch before the first picture.


# %%
def long_table(seconds: int, fps: int) -> TrackTable:
    gops, per_gop = seconds // 2, 2 * fps
    offsets = np.resize(np.array([3, 0, 0], np.uint32), gops * per_gop)
    sync = np.resize(np.arange(per_gop) == 0, gops * per_gop)
    wide = np.ones(gops, np.uint64)
    size = np.full(gops * per_gop, 5000, np.uint32)
    return TrackTable(
        size, size * 0 + 1, offsets, sync, wide * 5000 * per_gop, wide * 500, wide * per_gop, wide * per_gop
    )


# %%
minutes = [1, 10, 30, 60, 120]
for fps in (30, 60):
    heads = [len(build_head(StoredTrack(picture_track, long_table(60 * m, fps), 900, 900), None)) for m in minutes]
    plt.plot(minutes, [size / 1e6 for size in heads], "o-", label=f"{fps} fps")
plt.gca().set(xlabel="minutes of video", ylabel="MB of head")
plt.legend(frameon=False)
plt.tight_layout()

# %% [markdown]
# **What does a lookup cost?** Loading a layout takes time that grows with the fragments, but slowly: they are numbers
# in an array, not objects. Mapping a range is a bisection, so the length of the film hardly matters.


# %%
def microseconds(call: object) -> float:
    return min(timeit.repeat(call, number=5, repeat=20)) / 5 * 1e6


# %%
loads, maps = [], []
for m in minutes:
    long = StoredTrack(picture_track, long_table(60 * m, 30), 900, 900)
    text = build_layout(long, long)
    file = VirtualFile.load(1000, text)
    loads.append(microseconds(lambda text=text: VirtualFile.load(1000, text)))
    maps.append(microseconds(lambda file=file: file.map_range(file.size // 2, file.size // 2 + (1 << 20))))
plt.plot(minutes, loads, "o-", label="load the layout")
plt.plot(minutes, maps, "s-", label="map 1 MiB")
plt.gca().set(xlabel="minutes of video", ylabel="µs", ylim=0)
plt.legend(frameon=False)
plt.tight_layout()

# %% [markdown]
# ## Exercises
#
# 1. **Seek by hand.** Write `sample_at(tables, second)` that returns the number of the sample to *begin decoding* at,
#    from `stts`, `ctts` and `stss` alone. Check it against `container.seek`.
# 2. **Faststart.** Move `moov` of `clip` in front of `mdat`. Which table has to change, and by how much? Let FFmpeg
#    decode the result.
# 3. **Cheaper fragments.** How many bytes does a fragment of 94 sound samples spend before its first sample? What if
#    all samples had the same size and `tfhd` said so?
# 4. **Without sound.** Build head and layout with `None` for the sound. Why is `map_range(len(head), size)` now one
#    span?
#
# Solutions: `solutions/21_mp4_boxes.py`.
#
# ## Further reading
#
# - ISO/IEC 14496-12, *ISO base media file format*: 4.2 boxes, 8.6 and 8.7 sample tables, 8.8 fragments, 8.16 `sidx`.
# - ISO/IEC 23000-19, *CMAF*: what a track file for HLS and DASH has to look like.
# - RFC 8216, *HTTP Live Streaming*, and RFC 9110, section 14: byte ranges in playlists and in HTTP.
# - In this house: `sfserver/media/mp4/boxes.py`, `fragments.py`, `movie.py`, `virtual.py`, `package.py`.
