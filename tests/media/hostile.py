"""Files that name other files or hosts. `{canary}` is a file beside them, `{url}` a listener on loopback."""

import struct

from tests.media.clips import box

_HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
_MAP = (
    '#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:9\n#EXT-X-MAP:URI="{target}"\n#EXTINF:9,\nx.m4s\n#EXT-X-ENDLIST\n'
)
_KEY = '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:9,\n{canary}\n#EXT-X-ENDLIST\n'
_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>"
)
_SMIL = '<smil><body><video src="{target}"/></body></smil>'
_ASX = '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>'
_SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
_TEMPLATES = {
    "hls": _HLS,
    "hls_map": _MAP,
    "dash": _DASH,
    "ffconcat": "ffconcat version 1.0\nfile {target}\n",
    "ffconcat_duration": "ffconcat version 1.0\nfile '{target}'\nduration 5\nfile '{target}'\n",
    "smil": _SMIL,
    "asx": _ASX,
    "pls": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
    "ram": "{target}\n",
    "webm_dash": '<?xml version="1.0"?><MPD><BaseURL>{target}</BaseURL></MPD>',
    "xspf": "<playlist><trackList><track><location>{target}</location></track></trackList></playlist>",
    "imf_cpl": '<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2013"><Id>{target}</Id>'
    "</CompositionPlaylist>",
    "ffmetadata": ";FFMETADATA1\ntitle={target}\n",
    "vobsub": "# VobSub index file, v7\nsize: 720x576\nid: en, index: 0\n{target}\n",
}
_TARGETS = (
    "{canary}",
    "file:{canary}",
    "canary.mp4",
    "../in/canary.mp4",
    "{url}",
    "subfile,,start,0,end,99,,:{canary}",
)


def hostile_texts(canary: str, port: int) -> dict[str, bytes]:
    """Return every template with every target it can name."""
    url = f"http://127.0.0.1:{port}/a.mp4"
    made = {"sdp": _SDP.format(port=port).encode(), "hls_key": _KEY.format(url=url, canary=canary).encode()}
    for name, template in _TEMPLATES.items():
        for number, target in enumerate(_TARGETS):
            filled = template.format(target=target.format(canary=canary, url=url))
            made[f"{name}-{number}"] = filled.encode()
    return made


def hostile_binaries(canary: str) -> dict[str, bytes]:
    """Return pictures, text screens and containers that carry or point to something else."""
    gab2 = b"GAB2\0\2\0" + bytes(8) + b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + canary.encode() + b"\n"
    return {
        "xbin": b"XBIN\x1a" + struct.pack("<HHBB", 8, 8, 16, 0) + bytes(128),
        "gif": b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
        "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "gab2": gab2,
        "elf": b"\x7fELF" + bytes(200),
        "zip": b"PK\3\4" + bytes(200),
        "empty_mp4": box(b"ftyp", b"isom\0\0\2\0isom"),
        "mov_reference": box(b"ftyp", b"qt  \0\0\0\0qt  ") + _reference_movie(canary),
        "random": bytes(range(256)) * 8,
    }


def _reference_movie(canary: str) -> bytes:
    """Build a movie that is only a reference to another file (QuickTime `rmra`/`rdrf`)."""
    name = canary.encode() + b"\0"
    pointer = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(name)) + name)
    return box(b"moov", box(b"rmra", box(b"rmda", pointer)))
