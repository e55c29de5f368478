"""Says whether what lies in a folder are categories, or the folder is one or more levels too high. It looks at names
alone.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAMED: Final = 3
_WORDS: Final = re.compile(r"[^\W\d_]+")
# A name with one of these words is that of a set, whatever else it says: `test-multiple_fruits`, `seg_train`.
_SURE_WORDS: Final = frozenset(
    {"train", "training", "trainset", "trainingset", "test", "testing", "testset", "validation"}
)
# A name that is made of the words below alone is that of a part of a dataset, not of a category.
_TRAIN_WORDS: Final = frozenset({"train", "training", "trainset", "trainingset"})
_SET_WORDS: Final = _SURE_WORDS | {
    "val",
    "valid",
    "validate",
    "eval",
    "evaluation",
    "dev",
    "holdout",
    "pred",
    "prediction",
    "fold",
    "split",
}
_HOLDER_WORDS: Final = frozenset({"image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "pics"})
_ANNOTATION_WORDS: Final = frozenset(
    {
        *("label", "labels", "labeltxt", "annotation", "annotations", "annots", "imagesets", "xml", "xmls", "json"),
        *("mask", "masks", "trimaps", "bbox", "bboxes", "segmentationclass", "segmentationobject"),
    }
)
_OTHER_WORDS: Final = frozenset({"set", "sets", "data", "dataset", "seg"})
_PART_WORDS: Final = _SET_WORDS | _HOLDER_WORDS | _ANNOTATION_WORDS
# Files with these suffixes lie beside pictures in datasets, and are none.
_DOCUMENT_SUFFIXES: Final = frozenset(
    {
        *(
            "txt",
            "xml",
            "json",
            "jsonl",
            "csv",
            "tsv",
            "yaml",
            "yml",
            "md",
            "rst",
            "html",
            "pdf",
            "doc",
            "docx",
            "xls",
            "xlsx",
        ),
        *("py", "ipynb", "m", "mat", "npy", "npz", "pkl", "h5", "tfrecord", "parquet", "names", "cfg", "cache", "log"),
        *("zip", "tar", "gz", "tgz", "7z", "rar"),
    }
)


@dataclass(frozen=True)
class Misfit:
    """Says why a folder holds something else than categories, and which folders below it were probably meant, the
    likeliest first.

    `beside` are folders beside categories that are none.
    """

    why: str
    meant: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderShape:
    """Counts the pictures that lie directly in each folder, by its path below the delivered folder.

    A file without the suffix of a document counts as a picture. `documents` has the first document of each category
    folder.
    """

    pictures: Counter[str]
    documents: dict[str, str]

    def misfit(self) -> Misfit | None:
        """Returns why these are probably no categories, or None if they may well be."""
        holding = sorted({path.partition("/")[0] for path in self.pictures})
        only_folders = self.only_folders()
        parts = [name for name in holding if _is_set(name) and name in only_folders]
        if not parts and all(_is_part(name) for name in holding):
            parts = holding
        if parts:
            like = (
                "look like parts of a dataset, not like categories"
                if len(parts) > 1
                else "looks like a part of a dataset, not like a category"
            )
            return Misfit(f"{listed(parts)} {like}", self._meant())
        # Where the folders inside are parts of a dataset (`Kiwi/train`, `Kiwi/test`), the outer ones are the
        # categories.
        if len(only_folders) * 2 > len(holding) and self._meant():
            hold = "hold" if len(only_folders) > 1 else "holds"
            return Misfit(
                f"{listed(only_folders)} {hold} no images, but folders of images, as if these were the categories",
                self._meant(),
            )
        without = sorted(self.documents.keys() - set(holding))
        if without:
            hold = "hold" if len(without) > 1 else "holds"
            return Misfit(
                f"{listed(without)} {hold} no pictures (the first file is {self.documents[without[0]]!r})",
                beside=tuple(without if holding else ()),
            )
        return None

    def only_folders(self) -> list[str]:
        """Returns the category folders whose pictures all lie in deeper folders."""
        return sorted({path.partition("/")[0] for path in self.pictures if path.partition("/")[0] not in self.pictures})

    def _meant(self) -> tuple[str, ...]:
        """Returns the outermost folders below that look like folders of categories: they hold folders of pictures with
        names of their own.
        """
        of_pictures = [path for path in self.pictures if "/" in path and not _is_part(path.rpartition("/")[2])]
        holding = Counter(path.rpartition("/")[0] for path in of_pictures)
        found = {
            path
            for path, n_folders in holding.items()
            if self.pictures[path] < n_folders and not any(_words(step) & _ANNOTATION_WORDS for step in path.split("/"))
        }
        below = Counter[str]()
        for path, n_pictures in self.pictures.items():
            for ancestor in found.intersection(_ancestors(path)):
                below[ancestor] += n_pictures
        outer = [path for path in found if found.isdisjoint(_ancestors(path))]
        is_train = {path: bool(_words(path.rpartition("/")[2]) & _TRAIN_WORDS) for path in outer}
        return tuple(sorted(outer, key=lambda path: (not is_train[path], path.count("/"), -below[path], path)))


def shape_of(files: Iterable[tuple[str, str]]) -> FolderShape:
    """Returns the shape of a folder that holds these files, each a category and a path below it."""
    pictures, documents = Counter[str](), dict[str, str]()
    for category, file_name in files:
        path = f"{category}/{file_name}"
        _, dot, suffix = file_name.rpartition(".")
        if dot and suffix.lower() in _DOCUMENT_SUFFIXES:
            documents.setdefault(category, path)
        else:
            pictures[path.rpartition("/")[0]] += 1
    return FolderShape(pictures, documents)


def listed(names: Sequence[str]) -> str:
    """Returns names in words, as in `'a', 'b' and 'c'`. Of many it names the first few and counts the rest."""
    shown = [repr(name) for name in names[:_NAMED]] + ([f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else [])
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _ancestors(path: str) -> list[str]:
    """Returns the folders that a path lies in: `a` and `a/b` for `a/b/c`."""
    steps = path.split("/")
    return ["/".join(steps[:length]) for length in range(1, len(steps))]


def _words(name: str) -> frozenset[str]:
    return frozenset(_WORDS.findall(name.casefold()))


def _is_set(name: str) -> bool:
    words = _words(name)
    return bool(words & _SURE_WORDS) or (bool(words & _SET_WORDS) and words <= _PART_WORDS | _OTHER_WORDS)


def _is_part(name: str) -> bool:
    words = _words(name)
    return _is_set(name) or (bool(words & _PART_WORDS) and words <= _PART_WORDS | _OTHER_WORDS)
