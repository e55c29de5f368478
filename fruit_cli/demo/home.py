"""Says whether the lake in the local home is the demo's. The demo starts from an empty one, and must never empty what
somebody keeps.

`demo.json` beside the lake says how many images the demo delivers under which date. A lake that holds anything more was
used for something else, and is left alone.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from fruit_contract import lake

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Releases are named by their content: one that is there already need not be published again.
_KEPT: Final = frozenset({lake.CODE})


def lake_folder(home: Path, bucket: str) -> Path:
    """Returns the folder that the local S3 serves as this bucket."""
    return home / "s3" / bucket


def write_record(home: Path, images_by_date: Mapping[str, int]) -> None:
    """Writes a record that the lake is the demo's, and how many images the demo delivers into it by date."""
    record_path(home).write_text(json.dumps({"images_by_date": dict(images_by_date)}, indent=2), encoding="utf-8")


def record_path(home: Path) -> Path:
    return home / "demo.json"


def is_the_demos(home: Path, bucket: str) -> bool:
    """Returns whether the lake holds nothing but what a demo put there, which is true of an empty lake."""
    folder = lake_folder(home, bucket)
    if not _content(folder):
        return True
    try:
        recorded = json.loads(record_path(home).read_text(encoding="utf-8"))["images_by_date"]
    except (FileNotFoundError, ValueError, KeyError):
        return False
    return all(count <= recorded.get(ingest_date, 0) for ingest_date, count in _images_by_date(folder).items())


def empty_lake(home: Path, bucket: str) -> bool:
    """Empties the demo's lake, except for its releases, and returns whether there was anything. Raises CommandError if
    it isn't the demo's.
    """
    folder = lake_folder(home, bucket)
    if not is_the_demos(home, bucket):
        raise CommandError(
            f"The lake '{folder}' holds images that no demo delivered, and the demo needs an empty lake. "
            "To keep it, let the demo use another place: `FRUITS_LOCAL_HOME=/tmp/fruits-demo make demo`. To lose it: "
            "`make clean`."
        )
    content = _content(folder)
    for path in content:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    record_path(home).unlink(missing_ok=True)
    return bool(content)


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name not in _KEPT] if folder.is_dir() else []


def _images_by_date(folder: Path) -> Counter[str]:
    keys = (path.relative_to(folder).as_posix() for path in (folder / lake.RAW).rglob("*") if path.is_file())
    return Counter(image.ingest_date for image in map(lake.parse_image_key, keys) if image)
