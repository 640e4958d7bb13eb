"""Takes the pictures of the pages from real runs, and the table of the sweep.

    python docs/pictures.py             two minutes on 2 CPU cores; the report's picture needs chromium
    python docs/pictures.py FOLDER      a sweep of nine rows in FOLDER, or what is there of it: five minutes more

Writes docs/pictures/terminal.svg and docs/pictures/report.png from the run of recipes/tldr.yaml as it is; with FOLDER,
instead, docs/pictures/front.png and the table in docs/how-to/sweep.md from the sweep that this page shows.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

import copgkit
from copgkit.report import Comparison, ends, number
from copgkit.report.terminal import LineProgress, print_summary

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
COMMAND = "copgkit run recipes/tldr.yaml"
COLUMNS, REPORT_SIZE, FRONT_SIZE, COLOURS = 100, (1000, 1500), (860, 510), 128
SWEEP = ["objective.beta=0.25,0.5,1", "objective.use=copg,ipo,dpo"]
SHOWN = {"reward/mean": "reward", "kl/mean": "KL (nats)", "win-rate/share": "win rate", "faithful/share": "faithful"}
TABLE = re.compile(r"(?<=<!-- rows: docs/pictures.py -->\n\n).*?(?=\n\n<!-- end -->)", re.S)


def main(sweep_folder: str | None = None) -> None:
    """What the first lines say."""
    if sweep_folder is None:
        picture_run()
        return
    swept = copgkit.sweep(ROOT / "recipes/tldr.yaml", SWEEP, output=sweep_folder)
    picture_front(swept.folder / "report.html")
    page = ROOT / "docs/how-to/sweep.md"
    page.write_text(TABLE.sub(lambda old: table_of(swept.comparison), page.read_text()))


def picture_run() -> None:
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
    """The top of the report."""
    photograph(report.as_uri(), PICTURES / "report.png", REPORT_SIZE)


def picture_front(report: Path) -> None:
    """The first picture of a sweep's report, that of the front."""
    picture = re.search(r'<figure class="large">.*?(<img .*?>)', report.read_text(encoding="utf-8"), re.S)
    assert picture
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "front.html"
        page.write_text(f"<body style='margin: 8px; background: white'>{picture[1]}", encoding="utf-8")
        photograph(page.as_uri(), PICTURES / "front.png", FRONT_SIZE)


def photograph(address: str, target: Path, size: tuple[int, int]) -> None:
    """A page as a browser shows it, in few colours."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit(f"docs/pictures.py: no chromium is installed. {target.name} stays as it is.")
    window = ",".join(map(str, size))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={window}"]
    subprocess.run([browser, *flags, f"--screenshot={target}", address], check=True, capture_output=True)
    Image.open(target).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def table_of(comparison: Comparison) -> str:
    """The rows of a sweep with their intervals, and the reference, as a table of Markdown."""
    rows = [("reference", comparison.runs[0].start, "")]
    standings = [place.standing for place in comparison.places]
    rows += [(run.label, run.figures, stands) for run, stands in zip(comparison.runs, standings, strict=True)]
    lines = [["row", *SHOWN.values(), "stands"], ["---"] * (len(SHOWN) + 2)]
    for label, figures, standing in rows:
        cells = [f"{number(figures[name].value, name)} {ends(figures[name], name)}".strip() for name in SHOWN]
        lines.append([label.replace(",use=", ", "), *cells, standing])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
