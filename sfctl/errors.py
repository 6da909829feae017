"""What can go wrong in a command, and how it is told: what, why, what to do next."""

from typing import TextIO

from sfctl.exits import Exit
from sfctl.text import safe_text


class CliError(Exception):
    """A command cannot go on; `exit_code` is how it ends."""

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        exit_code: Exit = Exit.FAILED,
        request_id: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.why, self.hint, self.exit_code, self.request_id = what, why, hint, exit_code, request_id


class ClientError(CliError):
    """The server refused: `code` is stable (docs/reference/errors.md), `status` is 0 without an answer."""

    def __init__(
        self,
        what: str,
        *,
        code: str,
        status: int,
        exit_code: Exit,
        why: str | None = None,
        hint: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, exit_code=exit_code, request_id=request_id)
        self.code, self.status = code, status


class ServerUnreachableError(ClientError):
    """No answer came."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"no server answers at {url}",
            code="unreachable",
            status=0,
            exit_code=Exit.UNREACHABLE,
            why=why,
            hint="start one with `sfctl up`, or `sfctl doctor` finds what is broken",
        )


def show_error(error: CliError, stream: TextIO) -> None:
    """Write an error as what, why, hint and request id, a line each; server text is data, never escapes."""
    lines = [f"error: {safe_text(error.what)}"]
    if error.why and error.why != error.what:
        lines.append(f"  {safe_text(error.why)}")
    if error.hint:
        lines.append(f"hint: {safe_text(error.hint)}")
    if error.request_id:
        lines.append(f"request id: {safe_text(error.request_id)}")
    stream.write("\n".join(lines) + "\n")
