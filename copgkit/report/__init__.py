"""What a run shows: progress on the terminal, the table before and after, warnings, and one HTML file with pictures."""

from copgkit.report.cautions import cautions
from copgkit.report.choosing_beta import BetaAdvice, advise_beta
from copgkit.report.comparison import Comparison, comparison_data, write_comparison
from copgkit.report.finished import FinishedRun, is_finished, read_run, require_several
from copgkit.report.health import diagnose
from copgkit.report.html import write_report
from copgkit.report.inspection import Inspection, inspect_groups
from copgkit.report.inspection_page import inspection_facts, write_inspection
from copgkit.report.model_card import model_card
from copgkit.report.plain import plain
from copgkit.report.summary import Line, Summary, ends, label_of, number, summarise

__all__ = [
    "BetaAdvice",
    "Comparison",
    "FinishedRun",
    "Inspection",
    "Line",
    "Summary",
    "advise_beta",
    "cautions",
    "comparison_data",
    "diagnose",
    "ends",
    "inspect_groups",
    "inspection_facts",
    "is_finished",
    "label_of",
    "model_card",
    "number",
    "plain",
    "read_run",
    "require_several",
    "summarise",
    "write_comparison",
    "write_inspection",
    "write_report",
]
