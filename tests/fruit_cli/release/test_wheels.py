from __future__ import annotations

import os
import re
import zipfile
from importlib.metadata import distribution

import pytest
from packaging.specifiers import SpecifierSet

from fruit_cli.errors import CommandError
from fruit_cli.release.wheels import (
    ARCHITECTURES,
    cluster_wheelhouse,
    fetch_wheels,
    file_sha256,
    node_architectures,
    node_options,
)
from local_cloud.project import PROJECT


def make_wheel(directory, name="tinyfruit", version="1.0", platform="any"):
    path = directory / f"{name}-{version}-py3-none-{platform}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


@pytest.fixture
def package_index(tmp_path, monkeypatch):
    """Returns a folder that is pip's only source."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.slow
def test_a_wheelhouse_is_fetched_once_for_the_same_pins(tmp_path, package_index):
    digest = file_sha256(make_wheel(package_index))
    requirements = tmp_path / "cluster.txt"
    requirements.write_text(f"tinyfruit==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
    said: list[str] = []
    first = cluster_wheelhouse(requirements, tmp_path / "cache", said.append)
    assert [wheel.name for wheel in first] == ["tinyfruit-1.0-py3-none-any.whl"]
    assert file_sha256(first[0]) == digest
    (package_index / first[0].name).unlink()
    assert cluster_wheelhouse(requirements, tmp_path / "cache", said.append) == first
    assert len(said) == 1


@pytest.mark.slow
def test_a_wheel_whose_hash_differs_from_the_pin_is_refused(tmp_path, package_index):
    make_wheel(package_index)
    requirements = tmp_path / "cluster.txt"
    requirements.write_text(f"tinyfruit==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(CommandError, match="DO NOT MATCH THE HASHES"):
        fetch_wheels(requirements, tmp_path / "wheels", what="The wheels")
    with pytest.raises(CommandError):
        cluster_wheelhouse(requirements, tmp_path / "cache", lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
def test_a_wheelhouse_has_the_wheels_of_both_architectures(tmp_path, package_index):
    """Whatever version of glibc a wheel's name has, if only the nodes' own is as new."""
    wheels = [make_wheel(package_index, platform=name) for name in ("manylinux_2_31_x86_64", "manylinux_2_24_aarch64")]
    requirements = tmp_path / "cluster.txt"
    requirements.write_text(
        f"tinyfruit==1.0 {' '.join(f'--hash=sha256:{file_sha256(wheel)}' for wheel in wheels)}\n", encoding="utf-8"
    )
    found = cluster_wheelhouse(requirements, tmp_path / "cache", lambda _: None)
    assert sorted(wheel.name for wheel in found) == sorted(wheel.name for wheel in wheels)


def test_only_tensorflow_keeps_the_nodes_to_one_architecture():
    assert node_architectures(PROJECT / "requirements" / "cluster.txt") == ARCHITECTURES
    assert node_architectures(PROJECT / "requirements" / "cluster-tensorflow.txt") == ("x86_64",)


def pinned_for_nodes():
    text = (PROJECT / "requirements/cluster.txt").read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+)==", text, re.MULTILINE)


@pytest.mark.parametrize("name", pinned_for_nodes())
def test_a_nodes_pip_takes_each_wheel_that_it_is_told_to(name):
    """The lock is compiled by uv, which is less strict about Python's version; and pip fetches for the platforms alone
    that are named.
    """
    found = distribution(name)
    assert "3.11.0" in SpecifierSet(",".join(found.metadata.get_all("Requires-Python", [])))
    tags = re.findall(r"^Tag: \S+-(\S+)$", found.read_text("WHEEL"), re.MULTILINE)
    assert {"any", *node_options("x86_64")} & {platform for tag in tags for platform in tag.split(".")}
