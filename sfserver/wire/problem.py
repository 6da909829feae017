"""Error bodies (RFC 9457, `application/problem+json`)."""

from pydantic import BaseModel


class Problem(BaseModel):
    """The body of every non-2xx answer; `code` is stable, `hint` says what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    hint: str | None = None
