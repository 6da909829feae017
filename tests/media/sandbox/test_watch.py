"""Who is to blame: the media for its own limits, the machine for its troubles."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sfserver import errors
from sfserver.media.sandbox import watch as sandbox_attempt
from sfserver.media.sandbox.confinement import Wall
from sfserver.media.sandbox.parent import ChildCrashed, ChildTrouble
from tests.media.sandbox.attempts import LIMITS, OUTPUT_BYTES, Attempt
from tests.media.sandbox.nested import remove_nested


@pytest.mark.parametrize(
    ("stage", "code", "limit"),
    [
        ("memory_bomb", "limit_memory", LIMITS.memory_bytes),
        ("give_up", "limit_memory", LIMITS.memory_bytes),
        ("shared_memory_bomb", "limit_memory", LIMITS.memory_bytes),
        ("huge_file", "limit_output_bytes", OUTPUT_BYTES),
        ("many_files", "limit_output_bytes", OUTPUT_BYTES),
        ("litter", "limit_output_files", 4096),
        ("nest", "limit_output_depth", 4),
        ("thread_bomb", "limit_threads", 64),
    ],
)
def test_a_limit_of_its_own_has_its_name(attempt: Attempt, stage: str, code: str, limit: int) -> None:
    with pytest.raises(errors.MediaLimitError) as error:
        attempt.run(stage)
    assert (error.value.code, error.value.limit) == (code, limit)
    assert error.value.value >= limit
    attempt.assert_gone()
    remove_nested(attempt.workdir)


@pytest.mark.parametrize("stage", ["busy", "encode_forever"])
def test_cpu_time_is_a_limit(attempt: Attempt, stage: str) -> None:
    attempt.cpu_s = 0.5
    with pytest.raises(errors.MediaLimitError) as error:
        attempt.run(stage)
    assert (error.value.code, error.value.limit) == ("limit_cpu_s", 0.5)
    attempt.assert_gone()


@pytest.mark.parametrize("stage", ["memory_bomb", "shared_memory_bomb"])
def test_a_machine_short_of_memory_is_not_blamed_on_the_media(
    attempt: Attempt, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_attempt, "memory_available", lambda: 100 << 20)
    with pytest.raises(ChildTrouble, match="has 100 MiB of memory left") as trouble:
        attempt.run(stage)
    assert trouble.value.errno == errno.ENOMEM
    attempt.assert_gone()


def test_what_is_removed_counts_where_nothing_forbids_it(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_attempt, "_GROSS_FACTOR", 1)
    monkeypatch.setattr(sandbox_attempt, "_GROSS_SLACK_BYTES", 0)
    attempt.limits = replace(LIMITS, omit_walls=tuple(Wall))
    with pytest.raises(errors.MediaLimitError) as error:
        attempt.run("write_and_remove")
    assert error.value.code == "limit_output_bytes"
    attempt.assert_gone()


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EIO", "EROFS", "ESTALE", "ENOENT", "EACCES"])
@pytest.mark.parametrize("by", ["python", "ffmpeg"])
def test_an_error_of_the_surroundings_is_told_apart(attempt: Attempt, name: str, by: str) -> None:
    number = getattr(errno, name)
    with pytest.raises(ChildTrouble) as trouble:
        attempt.run("trouble", errno=number, by=by)
    assert trouble.value.errno == number
    assert os.strerror(number) in trouble.value.detail
    attempt.assert_gone()


@pytest.mark.parametrize(("number", "by"), [(errno.EBADF, "python"), (0x41444E49, "ffmpeg"), (errno.EINVAL, "ffmpeg")])
def test_any_other_error_is_a_bug(attempt: Attempt, number: int, by: str) -> None:
    with pytest.raises(ChildCrashed, match="failed: "):
        attempt.run("trouble", errno=number, by=by)


def test_a_work_directory_that_is_gone_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(ChildTrouble) as trouble:
        Attempt(tmp_path / "gone").run("echo")
    assert trouble.value.errno == errno.ENOENT
