import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfctl.text import format_bitrate, format_bytes, format_duration, parse_clock, safe_file_name, safe_text


@given(st.text() | st.text("\x1b[]m0;\x07\x9b\x9c\u202e\u2066a\\", max_size=30))
def test_safe_text_leaves_nothing_that_steers(text: str) -> None:
    clean = safe_text(text)
    assert all(unicodedata.category(each) not in {"Cc", "Cs", "Zl", "Zp"} for each in clean)
    assert all(
        unicodedata.bidirectional(each) not in {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI"} for each in clean
    )
    assert safe_text(clean) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("[/b] [xxxx]", "[/b] [xxxx]"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\r\nb\tc", "a b c"),
        ("\x9b2Jgone", "gone"),
        ("naïve 映画 🎬", "naïve 映画 🎬"),
    ],
)
def test_safe_text(text: str, clean: str) -> None:
    assert safe_text(text) == clean


@given(st.text())
def test_a_file_name_stays_in_its_directory(title: str) -> None:
    name = safe_file_name(title, ".mp4")
    assert name.endswith(".mp4")
    assert "/" not in name
    assert name[0] not in ".-"
    assert len(name.encode()) <= 204


def test_a_file_name_is_the_title() -> None:
    assert safe_file_name("../../etc/passwd", ".mp4") == "_.._etc_passwd.mp4"
    assert safe_file_name("My film: part 2", ".mp4") == "My film_ part 2.mp4"
    assert safe_file_name("--help", "") == "help"
    assert safe_file_name("", ".mov") == "video.mov"


def test_numbers_for_people() -> None:
    assert [format_bytes(size) for size in (0, 999, 1900, 123_456_789, 5e12)] == [
        "0 B",
        "999 B",
        "1.9 kB",
        "123 MB",
        "5.0 TB",
    ]
    assert [format_bitrate(rate) for rate in (64_000, 2_400_000)] == ["64 kb/s", "2.4 Mb/s"]
    assert [format_duration(seconds) for seconds in (6.6, 761, 3723)] == ["0:07", "12:41", "1:02:03"]


def test_clocks() -> None:
    assert [parse_clock(text) for text in ("761", "12:41", "00:12:41", "1:02:03.5")] == [761, 761, 761, 3723.5]
    for wrong in ("", "1h", "-5", "1:2:3:4", "::"):
        with pytest.raises(ValueError, match="not a time"):
            parse_clock(wrong)
