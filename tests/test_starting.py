"""Imports without the garbage collector, which is afterwards as it was."""

import gc
import subprocess
import sys

import pytest

from copgkit.starting import collection_paused


@pytest.mark.parametrize("collects", [True, False])
def test_collection_is_afterwards_as_it_was(collects):
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with collection_paused():
            assert not gc.isenabled()
        assert gc.isenabled() is collects
        with pytest.raises(KeyError), collection_paused():
            {}["an import that failed"]
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


def test_libraries_are_imported_without_collections():
    code = """
import gc
from copgkit.starting import collection_paused
from copgkit.assembly import Assembly
import copgkit.runner
before = gc.get_stats()[1]["collections"]
Assembly(resolved=None, progress=None)
print("datasets" in __import__("sys").modules, gc.get_stats()[1]["collections"] - before)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, collections = ended.stdout.split()
    assert imported == "True"
    assert int(collections) <= 1  # one may come when the collector is on again
