"""Checks that a request is noticed if it needs a right that its role is not known to need, whatever it is about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract.regions import RegionNotAllowedError
from tests.bootstrap.recording import Asked, kind_of_key, requests_to_emr, requests_to_s3
from tests.bootstrap.requests_of_roles import is_known

if TYPE_CHECKING:
    from pathlib import Path

LAKES = frozenset({"fruits-lake"})


def asked_of_s3(folder: Path, **changed: Any) -> set[Asked]:
    usual = {
        "who": "emr-nodes",
        "region": "eu-west-1",
        "method": "GET",
        "query": "",
        "headers": {},
        "keys": [],
        "status": 200,
    }
    log = folder / "requests.jsonl"
    log.write_text(json.dumps(usual | changed) + "\n", encoding="utf-8")
    return requests_to_s3(log, LAKES)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("raw/ingest_date=2026-01-01/Apple Red 1/_DSC1.JPG", "raw/ingest_date=*/*"),
        ("ledger/ingest_date=2026-01-01/", "ledger/ingest_date=*/"),
        ("runs/manual__2026-01-01T00:00:00.json", "runs/*.json"),
        ("runs/_steps/manual__2026/extract_features.json", "runs/_steps/*"),
        ("code/current.json", "code/current.json"),
        ("code/0a1b/release.json", "code/*/release.json"),
        ("code/0a1b/jobs/x.py", "code/*/*"),
        ("features", "features"),
    ],
)
def test_a_key_is_of_a_kind(key: str, kind: str) -> None:
    assert kind_of_key(key) == kind


def test_what_the_role_needs_anyway_is_known(tmp_path: Path) -> None:
    asked = asked_of_s3(tmp_path, path="/fruits-lake/raw/ingest_date%3D2026-01-01/Kiwi/1.jpg")
    assert Asked("emr-nodes", "kms:Decrypt", "key", (("kms:ViaService", "s3"),)) in asked
    assert all(is_known(each) for each in asked)


def test_who_asks_for_what_is_not_there_must_be_able_to_list_it(tmp_path: Path) -> None:
    asked = asked_of_s3(tmp_path, path="/fruits-lake/pca/current.json", status=404)
    assert Asked("emr-nodes", "s3:ListBucket", "LAKE", (("s3:prefix", "pca/current.json"),)) in asked


@pytest.mark.parametrize(
    "request_",
    [
        {"who": "airflow", "path": "/fruits-lake/raw/ingest_date=2026-01-01/Kiwi/1.jpg"},
        {"who": "airflow", "path": "/fruits-lake/code/x/jobs/y.py"},
        {"who": "deliverer", "path": "/fruits-lake", "query": "list-type=2&prefix="},
        {"method": "PUT", "path": "/fruits-lake/code/x/y"},
        {"method": "PUT", "path": "/fruits-lake/runs/_claims/x"},
        {
            "method": "POST",
            "path": "/fruits-lake",
            "query": "delete",
            "keys": ["raw/ingest_date=2026-01-01/Kiwi/1.jpg"],
        },
    ],
)
def test_what_only_another_needs_is_not_known(tmp_path: Path, request_: dict[str, Any]) -> None:
    assert not all(is_known(each) for each in asked_of_s3(tmp_path, **request_))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"region": "us-east-1", "path": "/fruits-lake/features/x"}, RegionNotAllowedError),
        ({"path": "/elsewhere/features/x"}, ValueError),
        (
            {"method": "PUT", "path": "/fruits-lake/features/x", "headers": {"x-amz-server-side-encryption": "AES512"}},
            ValueError,
        ),
        ({"path": "/fruits-lake/features/x", "headers": {"x-amz-nonsense": "1"}}, ValueError),
    ],
)
def test_what_can_be_no_ones_is_refused(tmp_path: Path, request_: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        asked_of_s3(tmp_path, **request_)


def test_a_cluster_of_another_lake_is_not_known(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    for bucket, known in (("fruits-lake", True), ("somebody-elses", False)):
        entry = {
            "who": "airflow",
            "region": "eu-west-1",
            "action": "TerminateJobFlows",
            "body": {"JobFlowIds": ["j-1"]},
        }
        log.write_text(
            json.dumps(entry | {"tags": {"j-1": {"product": "fruits", "lake": bucket}}}) + "\n", encoding="utf-8"
        )
        assert [is_known(each) for each in requests_to_emr(log, LAKES)] == [known]
