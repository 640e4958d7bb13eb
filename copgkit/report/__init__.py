"""What a run shows: progress on the terminal, the table before and after, warnings, and one HTML file with pictures."""

from copgkit.report.cautions import cautions
from copgkit.report.choosing_beta import BetaAdvice, advise_beta
from copgkit.report.health import diagnose
from copgkit.report.html import write_report
from copgkit.report.inspection import Inspection, inspect_groups
from copgkit.report.inspection_page import inspection_facts, write_inspection
from copgkit.report.model_card import model_card
from copgkit.report.plain import plain
from copgkit.report.summary import Line, Summary, summarise

__all__ = [
    "BetaAdvice",
    "Inspection",
    "Line",
    "Summary",
    "advise_beta",
    "cautions",
    "diagnose",
    "inspect_groups",
    "inspection_facts",
    "model_card",
    "plain",
    "summarise",
    "write_inspection",
    "write_report",
]
