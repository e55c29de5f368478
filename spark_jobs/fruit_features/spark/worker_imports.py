"""Spares Spark's Python workers from reading the directories of zips again in every task."""

from __future__ import annotations

import sys
import zipimport


def forget_zip_importers() -> None:
    """Forgets the importers of zips. Importing from the zips still works.

    Spark invalidates import caches at the start of every task, and CPython 3.11 then reads a zip's directory again for
    every package that came from it. For Spark's own zip and the library's, that takes some 70 ms a task and can't be
    turned off. `sys.path_importer_cache` is a documented cache, whose entries may be removed: an importer that is asked
    for again is made anew from a directory that is kept.
    """
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            sys.path_importer_cache.pop(path, None)
