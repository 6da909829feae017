"""Exit codes of `sfctl`: an API of their own, scripts rely on them."""

from enum import IntEnum


class Exit(IntEnum):
    """What became of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_SIGNED_IN = 4
    NOT_FOUND = 5
    REJECTED = 6
    PENDING = 8
    TIMEOUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


def exit_for_status(status: int) -> Exit:
    """Say how a command ends that was answered with the HTTP `status` of an error."""
    if status in {401, 403}:
        return Exit.NOT_SIGNED_IN
    if status == 404:
        return Exit.NOT_FOUND
    return Exit.REJECTED if 400 <= status < 500 else Exit.FAILED
