"""What stays on disk: a run's folder, groups, metrics, samples and provenance, and the scores that all runs share.

Standard library only."""

from copgkit.store.checkpoints import Checkpoints, checkpoints_in, read_manifest, says_full
from copgkit.store.group_schema import group_schema
from copgkit.store.groups import read_groups, scored_group_from_row, scored_group_to_row, write_groups
from copgkit.store.journal import Journal, read_metrics
from copgkit.store.json_lines import number_in, number_out
from copgkit.store.log_prob_shelf import LogProbShelf
from copgkit.store.provenance import collect, file_hash, hashes_of, installed_versions, machine, plugin_versions
from copgkit.store.row_files import open_lines, read_rows
from copgkit.store.run_folder import RunFolder, newest_run, run_names, write_whole
from copgkit.store.run_lock import LOCK_FILE, RunLock
from copgkit.store.samples import read_samples, write_samples
from copgkit.store.score_keys import SourceIdentity
from copgkit.store.score_upkeep import StoredSource, exported, prune, stored_sources
from copgkit.store.scores import ScoreShelf, ScoreStore, default_store_path
from copgkit.store.written import WrittenBatches

__all__ = [
    "LOCK_FILE",
    "Checkpoints",
    "Journal",
    "LogProbShelf",
    "RunFolder",
    "RunLock",
    "ScoreShelf",
    "ScoreStore",
    "SourceIdentity",
    "StoredSource",
    "WrittenBatches",
    "checkpoints_in",
    "collect",
    "default_store_path",
    "exported",
    "file_hash",
    "group_schema",
    "hashes_of",
    "installed_versions",
    "machine",
    "newest_run",
    "number_in",
    "number_out",
    "open_lines",
    "plugin_versions",
    "prune",
    "read_groups",
    "read_manifest",
    "read_metrics",
    "read_rows",
    "read_samples",
    "run_names",
    "says_full",
    "scored_group_from_row",
    "scored_group_to_row",
    "stored_sources",
    "write_groups",
    "write_samples",
    "write_whole",
]
