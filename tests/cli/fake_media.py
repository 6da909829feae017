"""What lies below the fake server's signed URLs: HLS playlists of a video, while it is being made and afterwards."""

from datetime import datetime

from sfserver.wire.videos import FileLink, VideoLinks, VideoRead

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "360p": (640, 360)}
SEGMENTS_S = (2.0, 2.0, 2.0, 4.0, 4.0)
EXPIRES_AT = datetime.fromisoformat("2026-01-02T09:00:00Z")


def make_links(video: VideoRead) -> VideoLinks:
    """Make the links of a video that is ready, or of one that can be played while it is made."""
    base = f"/m/sig/{video.id}"
    files = [FileLink(quality=r.quality, format="mp4", url=f"{base}/file/{r.quality}.mp4") for r in video.renditions]
    return VideoLinks(
        hls=f"{base}/hls/master.m3u8",
        dash=f"{base}/dash/manifest.mpd" if files else None,
        files=files,
        live=not files,
        expires_at=EXPIRES_AT,
    )


def make_playlist(path: str, begun: set[str]) -> str | None:
    """Make the playlist at the end of a signed path; only the qualities that have begun have segments."""
    name = path.rpartition("/")[2].removesuffix(".m3u8")
    if name == "master":
        return _master()
    if "/hls/live/" not in path or name not in {*SIZES, "audio"}:
        return None
    head = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", "#EXT-X-PLAYLIST-TYPE:EVENT"]
    lines = [f"#EXTINF:{length_s:.6f},\n../../v/{name}/0.m4s" for length_s in SEGMENTS_S]
    return "\n".join([*head, *(lines if name in begun else []), ""])


def _master() -> str:
    lines = ["#EXTM3U", '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",URI="live/audio.m3u8"']
    for name, (width, height) in SIZES.items():
        rate = f"BANDWIDTH={height * 3000},AVERAGE-BANDWIDTH={height * 2000}"
        lines += [f'#EXT-X-STREAM-INF:{rate},CODECS="avc1,mp4a",RESOLUTION={width}x{height}', f"live/{name}.m3u8"]
    return "\n".join([*lines, ""])
