"""Takes the pictures of the pages from a real run.

    python docs/pictures.py          two minutes on 2 CPU cores; the report's picture needs chromium

Writes docs/pictures/terminal.svg and docs/pictures/report.png. The run is that of recipes/tldr.yaml, as it is.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

import copgkit
from copgkit.report.terminal import LineProgress, print_summary

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
COMMAND = "copgkit run recipes/tldr.yaml"
COLUMNS, REPORT_SIZE, COLOURS = 100, (1000, 1500), 64


def main() -> None:
    """Runs the recipe in a folder that goes away, and pictures what it printed and its report."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tldr"
        run = copgkit.run(ROOT / "recipes/tldr.yaml", output=target, progress=LineProgress(said, every=60))
        picture_terminal(said.getvalue(), run)
        picture_report(run.folder / "report.html")


def picture_terminal(said: str, result: copgkit.RunResult) -> None:
    """What the command prints, as SVG in the colours of a dark terminal."""
    screen = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    screen.print(Text(f"$ {COMMAND}", "bold"))
    screen.print(Text(said.rstrip(), "dim"))
    print_summary(result.summary, screen)
    screen.print("runs/tldr")
    template = re.sub(r"@font-face {{.*?}}", "", CONSOLE_SVG_FORMAT, flags=re.S)  # those fonts would be fetched
    screen.save_svg(str(PICTURES / "terminal.svg"), title=COMMAND, code_format=template)


def picture_report(report: Path) -> None:
    """The top of the report, as a browser shows it, in few colours."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("docs/pictures.py: no chromium is installed. The report's picture stays as it is.")
    target = PICTURES / "report.png"
    window = ",".join(map(str, REPORT_SIZE))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={window}"]
    subprocess.run([browser, *flags, f"--screenshot={target}", report.as_uri()], check=True, capture_output=True)
    Image.open(target).convert("RGB").quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    main()
