"""Runs the installer of a cluster's packages as a node does: with bash, a folder with the release, and wheels of our
own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pip
import pytest

from fruit_contract import release
from fruit_pipeline.emr.cluster_request import CLUSTER_PYTHON
from local_cloud.project import PROJECT

SCRIPT = PROJECT / "bootstrap" / "install_cluster_packages.sh"

REAL_PYTHON = f"""#!/usr/bin/env bash
exec {sys.executable} "$@"
"""
# Makes environments whose pip is this one's own: ensurepip would unpack one for every test.
QUICK_PYTHON = f"""#!/usr/bin/env bash
set -eu
[ "$1 $2 $3" = "-m venv --clear" ]
{sys.executable} -m venv --clear --without-pip "$4"
ln -s {Path(pip.__file__).parent} "$4/lib/python3.11/site-packages/pip"
"""


class Node:
    """Stands for a machine with Python 3.11, the release, and nothing else that the script could lean on."""

    def __init__(self, folder):
        self.release = folder / "release"
        self.venv = folder / "opt/venv"
        self.bin = folder / "bin"
        for directory in (self.release / "bootstrap", self.bin):
            directory.mkdir(parents=True)
        self.program("python3.11", QUICK_PYTHON)
        self.program("sudo", '#!/usr/bin/env bash\necho "sudo $*" >&2\nexit 7\n')

    def program(self, name, content):
        (self.bin / name).write_text(content, encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def publish(self, wheels, *, wheelhouse=True, alter=None):
        """Writes a release that pins `wheels`. The wheel named `alter` gets other bytes."""
        lines = []
        for wheel in wheels:
            name, version, *_ = wheel.name.split("-")
            lines.append(
                f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n    # via "
                "the lock\n"
            )
            if wheelhouse:
                content = wheel.read_bytes() + (b"altered" if wheel.name == alter else b"")
                (self.release / release.WHEELHOUSE).mkdir(exist_ok=True)
                (self.release / release.WHEELHOUSE / wheel.name).write_bytes(content)
        (self.release / release.CLUSTER_REQUIREMENTS).write_text("".join(lines), encoding="utf-8")

    def bootstrap(self, *arguments, **environment):
        """Calls the installer, with the release's folder if nothing else is given."""
        return subprocess.run(
            ["bash", str(SCRIPT), *(arguments or [str(self.release)])],
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": str(self.bin.parent),
                "FRUITS_VENV": str(self.venv),
                "PIP_CONFIG_FILE": os.devnull,
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )


def make_wheel(directory, name, version="1.0", source=""):
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", source)
        wheel.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


@pytest.fixture
def wheels(tmp_path):
    """Returns two small wheels. The script imports `obstore` at its end; this one stands in for it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return [make_wheel(folder, "tinyfruit", "1.2"), make_wheel(folder, "obstore", "0.12.1")]


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "node")


def last_line(finished):
    return finished.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_installs_the_pins_from_the_release_alone_and_the_second_run_changes_nothing(node, wheels):
    node.publish(wheels)
    node.program("python3.11", REAL_PYTHON)
    # No index is reachable: the wheelhouse must be enough.
    first = node.bootstrap(PIP_INDEX_URL="http://127.0.0.1:1/simple")
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"==> {node.venv} is ready"
    assert "obstore imports" in first.stdout
    program = "import importlib.metadata as m, tinyfruit; print(m.version('tinyfruit'), m.version('obstore'))"
    found = subprocess.run([node.venv / "bin/python", "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "1.2 0.12.1\n"

    made = (node.venv / "pyvenv.cfg").stat().st_mtime_ns
    second = node.bootstrap()
    assert second.returncode == 0
    assert second.stdout.splitlines()[-1] == f"{node.venv} holds these pins already: nothing to do."
    assert (node.venv / "pyvenv.cfg").stat().st_mtime_ns == made


@pytest.mark.slow
def test_other_pins_make_the_environment_anew(node, wheels, tmp_path):
    node.publish(wheels)
    assert node.bootstrap().returncode == 0
    newer = make_wheel(tmp_path, "tinyfruit", "1.3")
    node.publish([newer, wheels[1]])
    (node.venv / "left-behind").touch()
    finished = node.bootstrap()
    assert finished.returncode == 0, finished.stderr
    assert "is not as pinned (tinyfruit: 1.2 installed, 1.3 pinned): making it anew." in finished.stdout
    assert finished.stdout.splitlines()[-1] == f"==> {node.venv} is ready"
    assert not (node.venv / "left-behind").exists()


@pytest.mark.slow
def test_what_an_interrupted_run_left_is_made_anew(node, wheels):
    node.publish(wheels)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(node.venv)], check=True)
    finished = node.bootstrap()
    assert finished.returncode == 0, finished.stderr
    assert "tinyfruit: nothing installed, 1.2 pinned" in finished.stdout


def test_an_environment_with_more_than_the_pins_is_left_alone(node, tmp_path):
    """As on the local cloud, where the laptop's environment serves."""
    (node.release / release.CLUSTER_REQUIREMENTS).write_text(
        f"numpy=={version('numpy')} \\\n    --hash=sha256:0\n", encoding="utf-8"
    )
    finished = node.bootstrap(FRUITS_VENV=sys.prefix)
    assert finished.returncode == 0, finished.stderr
    assert "nothing to do" in finished.stdout


@pytest.mark.slow
def test_a_wheel_that_differs_from_the_lock_fails_loudly(node, wheels):
    node.publish(wheels, alter=wheels[0].name)
    finished = node.bootstrap()
    assert finished.returncode != 0
    assert "DO NOT MATCH THE HASHES" in finished.stderr
    assert last_line(finished).startswith(
        "bootstrap failed: installing the pins from the release's wheels (exit code 1). "
    )
    assert "publish again with --with-wheelhouse" in last_line(finished)


@pytest.mark.slow
def test_without_a_wheelhouse_the_package_index_serves(node, wheels):
    node.publish(wheels, wheelhouse=False)
    finished = node.bootstrap(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels[0].parent))
    assert finished.returncode == 0, finished.stderr
    assert "installing the pins from the package index" in finished.stdout


@pytest.mark.slow
def test_an_index_that_does_not_answer_is_told_with_the_way_out(node, wheels):
    node.publish(wheels, wheelhouse=False)
    finished = node.bootstrap(PIP_NO_INDEX="1")
    assert finished.returncode != 0
    assert last_line(finished).startswith("bootstrap failed: installing the pins from the package index")
    assert "--with-wheelhouse" in last_line(finished)


def test_a_folder_without_a_release_says_how_to_call_it(node):
    finished = node.bootstrap(str(node.bin))
    assert finished.returncode != 0
    expected = (
        "bootstrap failed: reading the arguments (exit code 1). Call it as: install_cluster_packages.sh <folder that "
        "holds the release>"
    )
    assert last_line(finished) == expected
    assert not node.venv.exists()


def test_a_wheel_that_is_missing_in_the_release_is_told(node, wheels):
    node.publish(wheels)
    (node.release / release.WHEELHOUSE / wheels[1].name).unlink()
    finished = node.bootstrap()
    assert finished.returncode != 0
    assert last_line(finished).startswith("bootstrap failed: installing the pins from the release's wheels")


@pytest.mark.slow
def test_a_package_that_does_not_import_fails_the_node(node, tmp_path):
    broken = make_wheel(tmp_path, "obstore", "0.12.1", source="raise ImportError('built for another machine')")
    node.publish([broken])
    finished = node.bootstrap()
    assert finished.returncode != 0
    assert "built for another machine" in finished.stderr
    assert last_line(finished).startswith("bootstrap failed: importing the packages")


def test_without_python_3_11_it_is_installed_with_dnf(node, wheels):
    node.publish(wheels)
    (node.bin / "python3.11").unlink()
    path = node.bin.parent / "tools"
    path.mkdir()
    for tool in ("bash", "env", "cp", "cat", "seq", "sleep", "mktemp", "rm", "dirname", "mkdir", "id"):
        (path / tool).symlink_to(
            next(Path(folder) / tool for folder in ("/usr/bin", "/bin") if (Path(folder) / tool).exists())
        )
    finished = node.bootstrap(PATH=f"{node.bin}:{path}")
    assert finished.returncode == 7
    assert "sudo dnf install --assumeyes --quiet python3.11 python3.11-pip" in finished.stderr
    assert last_line(finished).startswith("bootstrap failed: installing Python 3.11 (exit code 7)")


def test_the_environment_is_where_the_cluster_request_looks_for_it():
    assert f"FRUITS_VENV:-{CLUSTER_PYTHON.removesuffix('/bin/python')}}}" in SCRIPT.read_text(encoding="utf-8")
