"""The benchmarks' stores are what a step takes for a lake."""

from __future__ import annotations

import hashlib

from obstore import Bytes

from benchmarks.scale.made_up_stores import FolderStore, MadeUpDate
from fruit_contract import lake
from fruit_contract.listing import ListedObject
from fruit_features.extraction.date_work import plan_date

DAY = "2026-01-01"


def listed(name):
    return ListedObject(lake.image_key(DAY, "Kiwi", name), "etag", 5)


def test_what_is_written_lies_in_the_folder(tmp_path):
    store = FolderStore("lake", tmp_path)
    store.write_json("a/b.json", {})
    assert (tmp_path / "a" / "b.json").read_text() == "{}"
    etag = store.replace("a/c", b"content", None)
    assert (tmp_path / "a" / "c").read_bytes() == b"content"
    assert etag == hashlib.md5(b"content", usedforsecurity=False).hexdigest()


def test_a_made_up_date_is_planned_like_any_other():
    images = (listed("1.jpg"), listed("2.jpg"))
    plan = plan_date(MadeUpDate("lake", images), DAY, "embedder", (), (), retry_rejected=False)
    assert plan.images.column("image_key").to_pylist() == [image.key for image in images]
    assert plan.ledger.commit is None


def test_a_made_up_date_s_ledger_is_read(tmp_path):
    from benchmarks.history.synthetic_history import SyntheticHistory, partitions_of, write_features

    history = SyntheticHistory((DAY,), 1, "release", "embedder", ("Kiwi",))
    write_features(FolderStore("lake", tmp_path), history)
    ledger = Bytes((tmp_path / lake.ledger_key(DAY)).read_bytes())
    (partition,) = partitions_of(history, DAY)
    ((etag, size_bytes),) = partition.contents
    known = ListedObject(partition.image_keys[0], etag, size_bytes)
    features = ListedObject(partition.features_key, "etag", 1)
    plan = plan_date(
        MadeUpDate("lake", (listed("a.jpg"), known), (features,), ledger), DAY, "embedder", (), (), retry_rejected=False
    )
    assert plan.images.column("image_key").to_pylist() == [listed("a.jpg").key]
    assert not plan.lost_files
