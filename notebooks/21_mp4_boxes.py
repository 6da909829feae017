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
# # 21 · MP4 boxes, chunk objects and byte ranges
#
# **Goal.** An MP4 file looks like a wall of bytes. At the end of this notebook you can read one with thirty lines of
# Python, write one in pieces that can be watched while later pieces are still being made, and serve one *that does not
# exist*: a file whose head is stored, whose body is put together from many objects while somebody downloads it, and in
# which every player can seek.
#
# StreamForge keeps each encoded byte once: what an encode task stores, a *chunk object*, is what players read. HLS
# players read byte ranges of the objects, live and later. A download, or a `<video src>`, wants one ordinary MP4. We
# derive how both come from the same bytes, first as a toy and then with `sfserver.media`, and assert that they agree.

# %%
import bisect
import io
import itertools
import random
import struct
import tempfile
import timeit
from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np

plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)

# %% [markdown]
# ## A clip to take apart
#
# 12.5 seconds: a bright bar walks over a dark, grainy ground, and a tone. A **GOP** (group of pictures) is 20 frames
# = 2 s: one frame that stands alone and 19 that refer to others. Up to two *B-frames* in a row refer to a **later**
# frame, so the encoder has to send frames in another order than they are shown in. Remember this; it costs us a table.

# %%
FPS, GOP, FRAMES, WIDTH, HEIGHT, RATE = 10, 20, 125, 192, 128, 48_000


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
# ## Chunk objects
#
# A film is cut into *chunks* of whole GOPs, and one task encodes one chunk. It writes the fragments of its GOPs one
# behind the other into one file, and that file is stored as an **object**: it has a key, it is whole, and it never
# changes. Nothing is joined afterwards.
#
# The first one is the *opening*, 6 s, so that somebody can begin to watch. After it chunks are short, so that the next
# seconds are there in time, and then they grow, since a task has a fixed cost: 2 s, 4 s, 8 s, 12 s.


# %%
def toy_cut(gops: int) -> list[tuple[int, int]]:
    lengths = itertools.chain([3], [1] * 6, [2] * 10, [4] * 9, itertools.repeat(6))
    cuts = [0]
    while cuts[-1] < gops - 1:
        cuts.append(min(gops, cuts[-1] + next(lengths)))
    cuts[-1] = gops  # the last GOP is seldom whole: it goes with the chunk before it
    return list(itertools.pairwise(cuts))


print(toy_cut(len(gops)), "of", len(gops), "GOPs; a minute:", toy_cut(30))

# %% [markdown]
# The class cuts frames. It likes to cut where the *source* has a keyframe, or a task would have to decode what comes
# before its first frame; ours has one every 2 s, so the two agree. The sound is encoded in one run
# and handed over in *parts*: the opening's seconds, then 32 s each.

# %%
from sfserver.media.encode.chunks import audio_part_ends, plan_chunks

plan = plan_chunks(FRAMES, GOP, range(0, FRAMES, GOP))
assert [(chunk.start_frame // GOP, -(-chunk.end_frame // GOP)) for chunk in plan] == toy_cut(len(gops))
part_cuts = list(itertools.pairwise([0, *audio_part_ends(FRAMES, GOP)]))

store = {f"360p.{n}.m4s": b"".join(video_fragments[a:b]) for n, (a, b) in enumerate(toy_cut(len(gops)))}
store |= {f"audio.{n}.m4s": b"".join(audio_fragments[a:b]) for n, (a, b) in enumerate(part_cuts)}
{key: len(data) for key, data in store.items()}

# %% [markdown]
# ### What is remembered of a chunk
#
# Nobody wants to read an object again to know what is in it. A row beside it says, for each fragment, three numbers:
# its bytes, how long it lasts, and how far the sync frame at its front reaches. We can read them off the boxes.


# %%
def toy_index(data: bytes) -> list[tuple[int, int, int]]:
    rows, at = [], 0
    while at < len(data):
        fragment = read_fragment(data[at:])
        rows.append((fragment.size, fragment.ticks, fragment.data_start + int(fragment.sizes[0])))
        at += fragment.size
    return rows


toy_rows = {key: toy_index(data) for key, data in store.items()}
toy_rows["360p.3.m4s"]

# %% [markdown]
# In the house the encoder's process knows all that as it writes. `TrackTable` has every sample as a column;
# `FragmentIndex` is the little that serving needs of it, 12 bytes a fragment.

# %%
from sfserver.media.mp4.tracks import FragmentIndex, TrackTable, run_lengths


def read_all(data: bytes) -> TrackTable:
    sizes = [size for size, _, _ in toy_index(data)]
    return TrackTable.join(read_fragment(data[at:]) for at in itertools.accumulate(sizes[:-1], initial=0))


tables = {key: read_all(data) for key, data in store.items()}
for key, table in tables.items():
    index = FragmentIndex.unpack(table.index.pack())
    columns = (index.sizes.tolist(), index.ticks.tolist(), index.sync_ends.tolist())
    assert list(zip(*columns, strict=True)) == toy_rows[key]
whole_table = TrackTable.unpack(tables["360p.3.m4s"].pack())
assert whole_table.sizes.tolist() == tables["360p.3.m4s"].sizes.tolist()
print(len(store["360p.3.m4s"]), "bytes of object,", len(tables["360p.3.m4s"].pack()), "of packed table, 24 of index")

# %% [markdown]
# `run_lengths`, which will squeeze the columns into `stts` and `ctts` again, is the inverse of our `unfold`:

# %%
picture_table = TrackTable.concatenate([tables[key] for key in store if key.startswith("360p")])
sound_table = TrackTable.concatenate([tables[key] for key in store if key.startswith("audio")])
folded = zip(*(column.tolist() for column in run_lengths(picture_table.composition_offsets)), strict=True)
assert unfold(list(folded)) == [sample.composition_offset for sample in samples]

# %% [markdown]
# ## The init segment
#
# A fragment does not say what its samples *are*: size, codec, the encoder's parameter sets. That is said once, in an
# **init segment**: `ftyp`, and a `moov` whose sample tables are empty, with an `mvex` box ("there will be fragments").
# A toy can be had from the clip's own `moov`: keep the picture's `trak`, empty its tables, add `mvex`.

# %%
EMPTY = {"stts": bytes(4), "stsc": bytes(4), "stco": bytes(4), "stsz": bytes(8)}


def hollow(data: bytes, box: object) -> bytes:
    if box.kind in EMPTY:
        return build_box(box.kind, bytes(4), EMPTY[box.kind])
    if box.kind in {"ctts", "stss", "sgpd", "sbgp", "udta"}:
        return b""
    if box.kind in PARENTS:
        return build_box(box.kind, *(hollow(data, inner) for inner in iter_boxes(data, box.body, box.end)))
    return data[box.start : box.end]


# %%
moov = find_box(clip, "moov")
kept = [box for box in iter_boxes(clip, moov.body, moov.end) if box.kind in {"mvhd", "trak"}][:2]
mvex = build_box("mvex", full("trex", 0, 0, 1, 1, 0, 0, 0))
toy_init = build_box("ftyp", b"iso6", bytes(4), b"iso6") + build_box("moov", *(hollow(clip, box) for box in kept), mvex)
show(toy_init, 0, len(toy_init))

# %% [markdown]
# ### The class
#
# `build_init` takes what the plan knows before anything is encoded, and the encoder's header (`avcC`). It is a pure
# function of them: the first chunk that comes back settles it, whichever worker made that, and it never changes.

# %%
from sfserver.media.contract import AudioPlan, PicturePlan, Rung
from sfserver.media.mp4.movie import audio_track, build_init, video_track

rung = Rung("360p", WIDTH, HEIGHT, 0, "libx264", {}, "")
picture_track = video_track(rung, timescale, PicturePlan(), avcc, delay)
sound_track = audio_track(AudioPlan(1, 128_000, RATE, 2, 0, []), asc)
inits = {"360p": build_init(picture_track, FRAMES * ticks), "audio": build_init(sound_track, sound_table.ticks)}


def frames_of(data: bytes) -> list[bytes]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


shown = frames_of(clip)
for init in (toy_init, inits["360p"]):
    assert frames_of(init + store["360p.1.m4s"]) == shown[60:80]
print(len(inits["360p"]), "and", len(inits["audio"]), "bytes; any one object plays behind its init segment")

# %% [markdown]
# And it plays *at its place*: `tfdt` counts from the film's beginning, not from the chunk's.

# %%
with av.open(io.BytesIO(inits["360p"] + store["360p.1.m4s"])) as container:
    print("the first frame of chunk 1 is shown at", next(container.decode(video=0)).time, "s")

# %% [markdown]
# ## A list for HLS
#
# An HLS player reads a text: where the init segment is, and then one entry a **segment**, with its length in seconds
# and a byte range of a URL. A segment is a run of fragments of one object. Ours hold two GOPs, one in the first 18 s.
# URLs are *logical*: `v/360p/1.m4s` is chunk 1, whatever key its object has.


# %%
def toy_segments(n: int, single: int = 9) -> str:
    text, at, rows = "", 0, toy_rows[f"360p.{n}.m4s"]
    gop, _ = toy_cut(len(gops))[n]
    while rows:
        take = 1 if gop < single else 2
        length = sum(size for size, _, _ in rows[:take])
        lasts = sum(tick for _, tick, _ in rows[:take]) / timescale
        text += f"#EXTINF:{lasts:.6f},\n#EXT-X-BYTERANGE:{length}@{at}\n../v/360p/{n}.m4s\n"
        at, rows, gop = at + length, rows[take:], gop + take
    return text


print(toy_segments(0) + toy_segments(1))

# %% [markdown]
# While it encodes, chunks come back in any order. The **live** list shows the segments before the first chunk that is
# missing, and says `EVENT`: "I will only grow". With one or two segments it shows *none*: Chromium's own HLS player
# fails on a list of two. When all is there the list is `VOD` and has an end. Both name the same URLs, so a player that
# has begun live has the start in its cache.


# %%
def toy_list(recorded: set[int], *, live: bool) -> str:
    head = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:0"]
    head += [f"#EXT-X-PLAYLIST-TYPE:{'EVENT' if live else 'VOD'}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    head += ["#EXT-X-START:TIME-OFFSET=0.01,PRECISE=YES"] if live else []
    head += ['#EXT-X-MAP:URI="../v/360p/init.mp4"', ""]
    known = list(itertools.takewhile(lambda n: n in recorded, itertools.count()))
    body = "".join(toy_segments(n) for n in known)
    if live and body.count("#EXTINF") < 3:
        body = ""
    return "\n".join(head) + body + ("" if live else "#EXT-X-ENDLIST\n")


for recorded in ({1, 2}, {0, 2}, {0, 1}, {0, 1, 2}):
    print(recorded, "→", toy_list(recorded, live=True).count("#EXTINF"), "segments")

# %% [markdown]
# ### The class
#
# `cut_segments` cuts an index by a rule; `media_head` and `segment_lines` are the text. Nothing of an object is read.

# %%
from sfserver.media.mp4.hls import END_LIST, media_head, segment_lines
from sfserver.media.mp4.segments import SegmentRule, cut_segments, target_duration_s

rule = SegmentRule(gops=2, opening_gops=9)
target_s = target_duration_s(GOP, FPS, rule)


def class_list(chunks: int, *, live: bool) -> str:
    text = media_head("../v/360p/init.mp4", target_s, live=live)
    for n, chunk in enumerate(plan[:chunks]):
        index, first = tables[f"360p.{n}.m4s"].index, chunk.start_frame // GOP
        segments = cut_segments(index, timescale, rule, first_gop=first, start=0)
        text += segment_lines(f"../v/360p/{n}.m4s", segments)
    return text + ("" if live else END_LIST)


assert class_list(2, live=True) == toy_list({0, 1}, live=True)
assert class_list(len(plan), live=False) == toy_list(set(range(len(plan))), live=False)
print(class_list(len(plan), live=False))

# %% [markdown]
# Does it play? We lay the objects out under their URLs and let FFmpeg's HLS reader follow the list.

# %%
with tempfile.TemporaryDirectory() as folder:
    files = {f"v/360p/{n}.m4s": store[f"360p.{n}.m4s"] for n in range(len(plan))}
    files |= {"v/360p/init.mp4": inits["360p"], "hls/360p.m3u8": class_list(len(plan), live=False).encode()}
    for name, data in files.items():
        (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(data)
    with av.open(f"{folder}/hls/360p.m3u8") as container:
        played = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
assert played == shown
print(len(played), "frames, those of the clip")

# %% [markdown]
# ## The file that is not there
#
# Here is the idea. A chunk offset in `co64` may point *anywhere* in the file, and what lies between the samples does
# not matter. So let one huge `mdat` hold the stored fragments **as they are**, in time order, and let a classic `moov`
# point over the `moof` boxes straight at the samples. (Mind the word: a *chunk* of `stco` is a run of samples in a
# file, here a fragment's; a chunk object holds several.)
#
# ```
#  stored      head   moov ──────────┬───────────┬──────────┐
#                                    ▼           ▼          ▼
#  virtual     [head][mdat: [moof v0 ▒▒▒▒▒][moof a0 ▒▒][moof v1 ▒▒▒▒▒][moof a1 ▒▒] …
#                           └360p.0.m4s ──┘└audio.0…──┘└360p.0.m4s ──┘└audio.0…──┘
# ```
#
# Nobody ever writes that file. A request for some bytes of it is answered from the head and the chunk objects. The head
# is made of sample tables alone: packaging a film reads none of its media.

# %%
from sfserver.media.mp4.virtual import Placed, VirtualFile, build_head, read_spans

head = build_head((picture_track, picture_table), (sound_track, sound_table))
show(head[: find_box(head, "moov").end], 0, find_box(head, "moov").end)
print(len(head), "bytes of head; mdat says", struct.unpack(">I4sQ", head[-16:]))

# %% [markdown]
# ### The map, as a toy
#
# Write down the pieces in order, each with the object it lies in and where it lies there. A range is found by
# bisection: the piece it starts in, then on until its end.


# %%
def toy_fragments(prefix: str, first_object: int) -> list[tuple[int, int, int]]:
    keys = [key for key in store if key.startswith(prefix)]
    found = []
    for number, key in enumerate(keys, first_object):
        sizes = [size for size, _, _ in toy_rows[key]]
        offsets = itertools.accumulate(sizes[:-1], initial=0)
        found += [(number, at, size) for at, size in zip(offsets, sizes, strict=True)]
    return found


objects = [head, *store.values()]
in_turn = zip(toy_fragments("360p", 1), toy_fragments("audio", 1 + len(plan)), strict=True)
pieces = [(0, 0, len(head)), *itertools.chain.from_iterable(in_turn)]
begins = [0, *itertools.accumulate(length for _, _, length in pieces)]


# %%
def toy_map(start: int, end: int) -> list[tuple[int, int, int]]:
    spans = []
    for i in range(bisect.bisect_right(begins, start) - 1, bisect.bisect_left(begins, end)):
        number, offset, _ = pieces[i]
        first, last = max(start, begins[i]), min(end, begins[i + 1])
        spans.append((number, offset + first - begins[i], last - first))
    return spans


toy_map(len(head) - 5, len(head) + 50_000)

# %% [markdown]
# ### The class, and that they agree
#
# `Placed` says where a track's fragments lie, from the rows' indexes; `VirtualFile` puts head, picture and sound in
# order. `iter_range` gives the first span after one bisection, the others as they are asked for.


# %%
def placed(prefix: str, first_object: int) -> Placed:
    return Placed.in_objects(first_object, [(0, tables[key].index.sizes) for key in store if key.startswith(prefix)])


virtual = VirtualFile.arrange(len(head), placed("360p", 1), placed("audio", 1 + len(plan)))
dice = random.Random(21)
for _ in range(2000):
    start, end = sorted(dice.sample(range(virtual.size + 1), 2))
    spans = [(span.object, span.offset, span.length) for span in virtual.iter_range(start, end)]
    assert spans == toy_map(start, end)
print("2000 random ranges of", virtual.size, "bytes in", len(objects), "objects agree")

# %% [markdown]
# The chunk offsets agree too: where a fragment begins in the virtual file, plus its `moof` and its `mdat`'s header.

# %%
for number, fragments in enumerate((video_fragments, audio_fragments)):
    at_pieces = begins[1 + number : -1 : 2]
    points = [begin + read_fragment(fragment).data_start for begin, fragment in zip(at_pieces, fragments, strict=True)]
    assert [offset for (offset,) in struct.iter_unpack(">Q", trak_tables(head, number)["co64"][8:])] == points
    print("picture" if number == 0 else "sound", points)

# %% [markdown]
# ### Does it play?
#
# Read all of it through the map and give it to FFmpeg. The frames are those of the clip we began with.

# %%
whole = read_spans(virtual.iter_range(0, virtual.size), lambda number, at, length: objects[number][at : at + length])
assert frames_of(whole) == shown
with av.open(io.BytesIO(whole)) as container:
    container.seek(9_000_000)
    found = next(container.decode(video=0))
    print("asked for 9.0 s, landed on the sync frame at", found.time, "s of", container.duration / 1e6)

# %% [markdown]
# And here it is as a picture: grey is the head, then picture and sound take turns, a shade for each object; the white
# slivers are the `moof`s that no table points at.

# %%
figure, axis = plt.subplots(figsize=(8, 1.3))
shades = ["0.6", *plt.cm.Blues(np.linspace(0.45, 0.95, len(plan))), *plt.cm.Oranges([0.5, 0.8])]
for begin, (number, offset, length) in zip(begins, pieces, strict=False):
    axis.barh(0, length, left=begin, color=shades[number])
    if number:
        axis.barh(0, read_fragment(objects[number][offset:]).data_start, left=begin, color="white", height=0.5)
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
# **How large is the head?** Every sample costs 4 bytes of `stsz`, reordered ones some of `ctts`; each fragment 8 bytes.
# For a film the head is what a player must fetch before the first picture, and all that packaging writes. What it reads
# is the packed tables.


# %%
def long_table(seconds: int, fps: int) -> TrackTable:
    gops, per_gop = seconds // 2, 2 * fps
    offsets = np.resize(np.array([3, 0, 0], np.uint32), gops * per_gop)
    sync = np.resize(np.arange(per_gop) == 0, gops * per_gop)
    wide = np.ones(gops, np.uint64)
    size = np.random.default_rng(fps).integers(1000, 9000, gops * per_gop).astype(np.uint32)
    whole = size.reshape(gops, per_gop).sum(axis=1, dtype=np.uint64) + np.uint64(500)
    return TrackTable(size, size * 0 + 1, offsets, sync, whole, wide * 500, wide * per_gop, wide * per_gop)


# %%
minutes = [1, 10, 30, 60, 120]
long_tables = {(m, fps): long_table(60 * m, fps) for m in minutes for fps in (30, 60)}
for fps in (30, 60):
    heads = [len(build_head((picture_track, long_tables[m, fps]), None)) for m in minutes]
    plt.plot(minutes, [size / 1e6 for size in heads], "o-", label=f"head, {fps} fps")
read = [len(long_tables[m, 30].pack()) / 1e6 for m in minutes]
plt.plot(minutes, read, "s--", color="grey", label="tables read, 30 fps")
plt.gca().set(xlabel="minutes of video", ylabel="MB")
plt.legend(frameon=False)
plt.tight_layout()
media = int(long_tables[120, 30].fragment_sizes.sum())
print(f"two hours: {media / 1e6:.0f} MB of media, of which packaging reads nothing")

# %% [markdown]
# **What does a lookup cost?** Putting the map together takes time that grows with the fragments, but slowly: they are
# numbers in an array, not objects. It is done once and kept. The first span of a range costs a bisection and a block of
# pieces, so the length of the film hardly matters, nor how much of it was asked for.


# %%
def microseconds(call: object) -> float:
    return min(timeit.repeat(call, number=5, repeat=20)) / 5 * 1e6


def film(table: TrackTable, per_object: int = 6) -> VirtualFile:
    sizes = table.index.sizes
    chunks = [(0, sizes[at : at + per_object]) for at in range(0, len(sizes), per_object)]
    return VirtualFile.arrange(1000, Placed.in_objects(1, chunks), None)


# %%
makes, seeks = [], []
for m in minutes:
    table = long_tables[m, 30]
    file = film(table)
    makes.append(microseconds(lambda table=table: film(table)))
    seeks.append(microseconds(lambda file=file: next(file.iter_range(file.size // 2, file.size))))
plt.plot(minutes, makes, "o-", label="put the map together")
plt.plot(minutes, seeks, "s-", label="first span of a seek")
plt.gca().set(xlabel="minutes of video", ylabel="µs", yscale="log")
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
# 4. **Without sound.** Build head and map with `None` for the sound. How many spans has `iter_range(len(head), size)`
#    now, and why?
# 5. **An old file.** Once, all fragments of a track lay in *one* object, behind an init segment. Serve such a file with
#    the same classes: as a track of one chunk whose fragments begin at `start`. What changes in list and map?
#
# Solutions: `solutions/21_mp4_boxes.py`.
#
# ## Further reading
#
# - ISO/IEC 14496-12, *ISO base media file format*: 4.2 boxes, 8.6 and 8.7 sample tables, 8.8 fragments.
# - ISO/IEC 23000-19, *CMAF*: what an init segment and a track's fragments have to look like.
# - RFC 8216, *HTTP Live Streaming*, and RFC 9110, section 14: byte ranges in playlists and in HTTP.
# - In this house: `sfserver/media/mp4/` (`boxes.py`, `fragments.py`, `tracks.py`, `movie.py`, `segments.py`, `hls.py`,
#   `virtual.py`, `package.py`) and `docs/guides/how-a-byte-travels.md`.
