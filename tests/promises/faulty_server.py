"""`python -m tests.promises.faulty_server ERRNO FLAG …`: the embedded server, whose disk fails while FLAG exists.

Whatever makes objects durable then raises OSError(ERRNO), as a broken disk (EIO) or one that was mounted read-only
(EROFS) does. The database and reading go on.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sfserver import __main__
from sfserver.infra import disk, machine
from sfserver.infra.storage import directory


def main() -> int:
    """Patch what writes objects and run the server as ever."""
    number, flag = int(sys.argv.pop(1)), Path(sys.argv.pop(1))

    def faulty(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if flag.exists():
                raise OSError(number, os.strerror(number), str(args[0]) if args else None)
            return function(*args, **kwargs)

        return call

    class FaultyOs:
        """`os`, but for what makes bytes durable."""

        fsync = staticmethod(faulty(os.fsync))
        fdatasync = staticmethod(faulty(os.fdatasync))

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

    for module in (disk, directory, machine):
        module.os = FaultyOs()  # type: ignore[attr-defined]
    return __main__.main()


if __name__ == "__main__":
    assert errno.errorcode[int(sys.argv[1])]
    sys.exit(main())
