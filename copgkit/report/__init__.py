"""What a run shows: progress on the terminal, the table before and after, warnings, and one HTML file with pictures."""

from copgkit.report.health import diagnose
from copgkit.report.html import write_report
from copgkit.report.model_card import model_card
from copgkit.report.summary import Line, Summary, summarise

__all__ = ["Line", "Summary", "diagnose", "model_card", "summarise", "write_report"]
