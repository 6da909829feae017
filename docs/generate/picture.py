"""Make docs/images/demo.svg from a real run: `tmux capture-pane -e -p -t demo | python -m docs.generate.picture`."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "images" / "demo.svg"


def draw(screen: str, title: str) -> str:
    """Return an SVG of a terminal that shows `screen` (text with ANSI colours)."""
    lines = [Text.from_ansi(line) for line in screen.rstrip().splitlines()]
    width = max((line.cell_len for line in lines), default=80)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(Text("\n").join(lines))
    drawn = console.export_svg(title=title, unique_id="demo")
    # Rich asks the network for its font; a viewer's own monospace does as well.
    return re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


def main() -> None:
    """Read a screen from stdin and write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(sys.stdin.read(), "make demo"))


if __name__ == "__main__":
    main()
