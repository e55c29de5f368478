from __future__ import annotations

import importlib
import sys
import zipfile
import zipimport
from typing import TYPE_CHECKING

from fruit_features.spark.worker_imports import forget_zip_importers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def zip_importers() -> list[str]:
    return [path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimport.zipimporter)]


def test_modules_of_a_zip_are_imported_as_before_and_their_importers_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "library.zip"
    with zipfile.ZipFile(archive, "w") as library:
        for name in ("__init__", "one", "two"):
            library.writestr(f"zipped_for_test/{name}.py", f"NAME = {name!r}")
    monkeypatch.syspath_prepend(str(archive))
    assert importlib.import_module("zipped_for_test.one").NAME == "one"
    assert any(str(archive) in path for path in zip_importers())

    forget_zip_importers()

    assert zip_importers() == []
    assert importlib.import_module("zipped_for_test.two").NAME == "two"
    for name in ("zipped_for_test", "zipped_for_test.one", "zipped_for_test.two"):
        monkeypatch.delitem(sys.modules, name)
