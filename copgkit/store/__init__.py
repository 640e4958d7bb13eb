"""What a run leaves on disk: its folder, groups, metrics, samples and provenance. Standard library only."""

from copgkit.store.groups import read_groups, write_groups
from copgkit.store.journal import Journal, read_metrics
from copgkit.store.provenance import collect, file_hash, installed_versions, machine, plugin_versions
from copgkit.store.run_folder import RunFolder
from copgkit.store.samples import read_samples, write_samples

__all__ = [
    "Journal",
    "RunFolder",
    "collect",
    "file_hash",
    "installed_versions",
    "machine",
    "plugin_versions",
    "read_groups",
    "read_metrics",
    "read_samples",
    "write_groups",
    "write_samples",
]
