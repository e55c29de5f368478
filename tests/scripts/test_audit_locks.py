from __future__ import annotations

import json

import pytest

from local_cloud.project import PROJECT
from scripts import audit_locks
from scripts.audit_locks import NOT_ASKED, NOTHING_KNOWN, SOMETHING_KNOWN, read_answer, report, verdict

CLEAN = {"name": "six", "version": "1.17.0", "vulns": []}
SKIPPED = {"name": "obstore", "skip_reason": "Dependency not found on PyPI and could not be audited: obstore (0.12.1)"}
OLD = {
    "name": "urllib3",
    "version": "1.26.0",
    "vulns": [{"id": "PYSEC-2021-108", "aliases": ["CVE-2021-33503"], "fix_versions": ["1.26.5"], "description": ""}],
}


def answer(*dependencies):
    return read_answer("osv", json.dumps({"dependencies": list(dependencies), "fixes": []}), "")


@pytest.mark.parametrize(
    ("dependencies", "exit_code"),
    [
        ((CLEAN,), NOTHING_KNOWN),
        ((CLEAN, OLD), SOMETHING_KNOWN),
        ((CLEAN, SKIPPED), NOT_ASKED),
        ((SKIPPED,), NOT_ASKED),
        ((SKIPPED, OLD), SOMETHING_KNOWN),
        ((), NOT_ASKED),
    ],
)
def test_a_package_that_nobody_was_asked_about_is_not_one_without_vulnerabilities(dependencies, exit_code):
    assert verdict(answer(*dependencies)) == exit_code


def test_a_vulnerability_is_told_with_its_names_and_what_mends_it():
    lines = report(answer(CLEAN, OLD, SKIPPED))
    assert lines[0] == "osv was asked about 2 packages and knows 1 vulnerabilities of them."
    assert lines[1] == "  urllib3 1.26.0: PYSEC-2021-108 = CVE-2021-33503, fixed in 1.26.5"
    assert "make lock UPGRADE=1" in lines[2]
    assert lines[3] == "It could not be asked about 1: obstore."


def test_the_service_that_knows_more_packages_is_believed(monkeypatch, capsys):
    asked = {"osv": ("", "ConnectionError: no route"), "pypi": (json.dumps({"dependencies": [CLEAN]}), "")}
    monkeypatch.setattr(audit_locks, "_ask", lambda service: asked[service])
    assert audit_locks.main() == NOTHING_KNOWN
    assert capsys.readouterr().out.splitlines() == [
        "osv can't be asked: ConnectionError: no route",
        "pypi was asked about 1 packages and knows 0 vulnerabilities of them.",
    ]


def test_where_no_service_answers_it_says_so_and_ends_with_a_code_of_its_own(monkeypatch, capsys):
    skipped = json.dumps({"dependencies": [SKIPPED]})
    monkeypatch.setattr(audit_locks, "_ask", lambda service: ("", "no route") if service == "osv" else (skipped, ""))
    assert audit_locks.main() == NOT_ASKED
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "No database of vulnerabilities could be asked about any package. This says nothing about them."
    )


def test_every_lock_is_asked_about():
    """`all` has the pins of the groups that are part of it."""
    pins = {
        path.stem: {line.split()[0] for line in path.read_text().splitlines() if "==" in line}
        for path in (PROJECT / "requirements").iterdir()
    }
    asked = set().union(*(pins[lock] for lock in audit_locks.LOCKS))
    assert set().union(*pins.values()) <= asked
