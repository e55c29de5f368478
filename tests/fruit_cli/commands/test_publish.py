from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from functools import partial

import obstore
import pytest
from obstore.store import MemoryStore

from fruit_cli.__main__ import main
from fruit_cli.commands import publish as publish_module
from fruit_cli.commands.publish import publish
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import LakeConnection
from fruit_cli.release import content as release_content
from fruit_cli.release import machine_code as machine_code_module
from fruit_cli.release.content import gather_release, library_zip
from fruit_cli.release.embedder import ExportedEmbedder
from fruit_cli.release.machine_code import SOURCE, machine_code
from fruit_contract import lake, release
from local_cloud.project import PROJECT

LOCAL = LakeConnection("fruits-lake", "eu-west-1", "http://127.0.0.1:1", "id", "secret")


def quietly(_):
    """Says nothing."""


def make_embedder(folder, embedder_id="mobilenetv2-abc-p1"):
    artefact = ExportedEmbedder(embedder_id, folder / embedder_id)
    artefact.directory.mkdir(parents=True)
    for name, path in artefact.files().items():
        path.write_text(f"{embedder_id} {name}", encoding="utf-8")
    return artefact


@pytest.fixture
def project(tmp_path):
    """Returns the folder of a project with as little in it as a release needs."""
    root = tmp_path / "project"
    sources = {
        "spark_jobs/extract_features.py": "print('extract')",
        "spark_jobs/refresh_pca.py": "print('pca')",
        "spark_jobs/fruit_features/__init__.py": "",
        "spark_jobs/fruit_features/moments.py": "N = 1",
        "spark_jobs/fruit_features/deeper/__init__.py": "",
        SOURCE: "int fruits_resize(int width) { return width; }",
        "fruit_contract/__init__.py": "",
        "bootstrap/install_cluster_packages.sh": "true",
        "requirements/cluster.txt": "numpy==2.1.3 --hash=sha256:abc",
        "requirements/cluster-tensorflow.txt": "tensorflow-cpu==2.19.1 --hash=sha256:abc",
    }
    for name, content in sources.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


@pytest.fixture
def embedder(tmp_path):
    return make_embedder(tmp_path)


@pytest.fixture
def store(project, embedder, monkeypatch, tmp_path):
    """Returns the lake as `publish` sees it; project and embedder are the small ones."""
    memory = MemoryStore()
    monkeypatch.setattr(publish_module, "open_store", lambda _: memory)
    monkeypatch.setattr(publish_module, "PROJECT", project)
    monkeypatch.setattr(publish_module, "gather_release", partial(gather_release, project=project))
    monkeypatch.setattr(publish_module, "exported_embedder", lambda *_, **__: embedder)
    monkeypatch.setenv("FRUITS_LOCAL_HOME", str(tmp_path / "home"))
    return memory


def keys_of(store):
    return sorted(entry["path"] for page in obstore.list(store) for entry in page)


def read(store, key):
    return bytes(obstore.get(store, key).bytes())


def test_a_release_holds_what_the_contract_names(store):
    found = publish(LOCAL, say=quietly)
    names = [release.EXTRACT_FEATURES_JOB, release.REFRESH_PCA_JOB, release.LIBRARY_ZIP, release.BOOTSTRAP_ACTION]
    names += [release.CLUSTER_REQUIREMENTS, release.RELEASE_MANIFEST]
    names += [
        release.EMBEDDER + name for name in (release.EMBEDDER_MANIFEST, release.LITERT_MODEL, release.TENSORFLOW_GRAPH)
    ]
    assert keys_of(store) == sorted([*(f"code/{found}/{name}" for name in names), "code/current.json"])


def test_release_json_tells_every_file_by_its_digest_and_the_pointer_names_the_release(store):
    found = publish(LOCAL, say=quietly)
    manifest = json.loads(read(store, f"code/{found}/release.json"))
    assert manifest["release"] == found
    assert manifest["embedder_id"] == "mobilenetv2-abc-p1"
    stored = {
        key.removeprefix(f"code/{found}/"): hashlib.sha256(read(store, key)).hexdigest() for key in keys_of(store)
    }
    del stored["release.json"], stored["code/current.json"]
    assert manifest["files"] == stored
    assert release.release_id(stored) == found
    digest = hashlib.sha256(read(store, f"code/{found}/release.json")).hexdigest()
    assert json.loads(read(store, lake.CURRENT_RELEASE_KEY)) == {"release": found, "manifest_sha256": digest}


def test_publishing_again_uploads_nothing(store, monkeypatch):
    first = publish(LOCAL, say=quietly)
    monkeypatch.setattr(obstore, "put", lambda *_: pytest.fail("uploaded again"))
    said: list[str] = []
    assert publish(LOCAL, say=said.append) == first
    assert said[0] == "0 files uploaded, 9 were there already."


@pytest.mark.parametrize("name", [release.LIBRARY_ZIP, release.RELEASE_MANIFEST])
def test_publishing_again_puts_back_what_somebody_changed(store, name):
    found = publish(LOCAL, say=quietly)
    key = f"code/{found}/{name}"
    before = read(store, key)
    obstore.put(store, key, before[:-1] + b"?")
    publish(LOCAL, say=quietly)
    assert read(store, key) == before


def test_a_pointer_without_the_digest_of_the_list_of_files_gets_it(store):
    found = publish(LOCAL, say=quietly)
    pointer = read(store, lake.CURRENT_RELEASE_KEY)
    obstore.put(store, lake.CURRENT_RELEASE_KEY, json.dumps({"release": found}).encode())
    publish(LOCAL, say=quietly)
    assert read(store, lake.CURRENT_RELEASE_KEY) == pointer


def test_a_pointer_that_was_cut_off_is_written_anew(store):
    publish(LOCAL, say=quietly)
    pointer = read(store, lake.CURRENT_RELEASE_KEY)
    obstore.put(store, lake.CURRENT_RELEASE_KEY, pointer[:9])
    publish(LOCAL, say=quietly)
    assert read(store, lake.CURRENT_RELEASE_KEY) == pointer


def test_a_broken_upload_is_completed_and_changes_nothing_before(store, project, monkeypatch):
    put = obstore.put
    before = publish(LOCAL, say=quietly)
    job = project / "spark_jobs/refresh_pca.py"
    job.write_text("print('better')", encoding="utf-8")

    def break_at_the_library(target, key, content):
        if key.endswith(release.LIBRARY_ZIP):
            raise ConnectionError("the line broke")
        return put(target, key, content)

    monkeypatch.setattr(obstore, "put", break_at_the_library)
    with pytest.raises(ConnectionError):
        publish(LOCAL, say=quietly)
    assert json.loads(read(store, lake.CURRENT_RELEASE_KEY))["release"] == before
    manifests = [key for key in keys_of(store) if key.endswith(release.RELEASE_MANIFEST)]
    assert manifests == [f"code/{before}/release.json"]

    written = []
    monkeypatch.setattr(obstore, "put", lambda target, key, content: (written.append(key), put(target, key, content)))
    after = publish(LOCAL, say=quietly)
    assert written == [f"code/{after}/fruit_library.zip", f"code/{after}/release.json", "code/current.json"]


def test_going_back_to_an_older_state_only_flips_the_pointer(store, project):
    job = project / "spark_jobs/refresh_pca.py"
    first = publish(LOCAL, say=quietly)
    old = job.read_bytes()
    job.write_text("print('worse')", encoding="utf-8")
    second = publish(LOCAL, say=quietly)
    assert second != first
    job.write_bytes(old)
    keys = keys_of(store)
    assert publish(LOCAL, say=quietly) == first
    assert keys_of(store) == keys
    assert json.loads(read(store, lake.CURRENT_RELEASE_KEY))["release"] == first


def test_says_so_when_the_embedder_changes(store, tmp_path, monkeypatch):
    publish(LOCAL, say=quietly)
    other = make_embedder(tmp_path, "mobilenetv2-def-p1")
    monkeypatch.setattr(publish_module, "exported_embedder", lambda *_, **__: other)
    said: list[str] = []
    publish(LOCAL, say=said.append)
    assert said[0].startswith("Note: the embedder changes from mobilenetv2-abc-p1 to mobilenetv2-def-p1: every image")


def test_the_nodes_get_tensorflow_only_when_asked(store):
    plain = publish(LOCAL, say=quietly)
    with_tensorflow = publish(LOCAL, with_tensorflow=True, say=quietly)
    assert b"tensorflow" not in read(store, f"code/{plain}/bootstrap/requirements.txt")
    assert b"tensorflow" in read(store, f"code/{with_tensorflow}/bootstrap/requirements.txt")


def test_a_wheelhouse_goes_into_the_release(store, tmp_path, monkeypatch):
    wheel = tmp_path / "numpy-2.1.3-cp311-cp311-manylinux2014_x86_64.whl"
    wheel.write_bytes(b"wheel")
    monkeypatch.setattr(publish_module, "cluster_wheelhouse", lambda *_: [wheel])
    plain = publish(LOCAL, say=quietly)
    found = publish(LOCAL, with_wheelhouse=True, say=quietly)
    assert found != plain
    assert read(store, f"code/{found}/{release.WHEELHOUSE}{wheel.name}") == b"wheel"


@pytest.mark.parametrize(
    ("options", "wheelhouse"),
    [
        ((), False),
        (("--with-wheelhouse",), True),
        (("--target", "aws"), True),
        (("--target", "aws", "--without-wheelhouse"), False),
    ],
)
def test_the_command_line_reaches_publish_and_nodes_on_aws_need_no_package_index(monkeypatch, options, wheelhouse):
    asked = {}
    monkeypatch.setattr(publish_module, "publish", lambda _, **options: asked.update(options))
    monkeypatch.setattr(publish_module, "lake_of_target", lambda _: LOCAL)
    assert main(["publish", "--weights", "s3://b/w.h5", *options]) == 0
    assert asked == {"weights": "s3://b/w.h5", "with_wheelhouse": wheelhouse, "with_tensorflow": False}


def test_refuses_a_region_outside_the_eu(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FRUITS_LOCAL_HOME", str(tmp_path))
    monkeypatch.setenv("FRUITS_AWS_REGION", "eu-west-2")
    assert main(["publish", "--target", "aws"]) == 1
    assert "Region 'eu-west-2' is not inside the EU" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["spark_jobs/refresh_pca.py", "bootstrap/install_cluster_packages.sh", "fruit_contract/__init__.py", SOURCE],
)
def test_a_project_with_a_file_missing_is_not_published(project, embedder, name):
    (project / name).unlink()
    with pytest.raises(CommandError, match="A release needs"):
        gather_release(embedder, project / "requirements/cluster.txt", project=project)


def test_a_release_whose_code_does_not_compile_is_not_published(project, embedder):
    (project / SOURCE).write_text("int fruits_resize(int width) { return height; }", encoding="utf-8")
    with pytest.raises(CommandError, match=r"resizing.c can't be compiled: .*undeclared identifier 'height'"):
        gather_release(embedder, project / "requirements/cluster.txt", project=project)


def test_code_is_the_same_bytes_whenever_it_is_compiled():
    first = machine_code()
    machine_code_module._compiled.cache_clear()
    assert machine_code() == first


def test_this_project_has_everything_a_release_needs(embedder):
    found = gather_release(embedder, PROJECT / "requirements/cluster.txt")
    with zipfile.ZipFile(io.BytesIO(bytes(found.files[release.LIBRARY_ZIP]))) as archive:
        names = archive.namelist()
    assert {"fruit_contract/lake.py", "fruit_features/__init__.py"} <= set(names)
    assert sorted(name for name in names if not name.endswith(".py")) == [
        "fruit_features/embedding/resizing-aarch64.elf",
        "fruit_features/embedding/resizing-x86_64.elf",
    ]


def test_the_library_zip_depends_on_its_sources_alone(project, tmp_path):
    packages = [project / "spark_jobs/fruit_features", project / "fruit_contract"]
    first = library_zip(packages)
    compiled = project / "fruit_contract/__pycache__"
    compiled.mkdir()
    (compiled / "lake.cpython-311.pyc").write_bytes(b"compiled")
    source = project / "spark_jobs/fruit_features/moments.py"
    os.utime(source, (0, 0))
    source.chmod(0o755)
    assert library_zip(reversed(packages)) == first
    source.write_text("N = 2", encoding="utf-8")
    assert library_zip(packages) != first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == [
            "fruit_contract/__init__.py",
            "fruit_features/__init__.py",
            "fruit_features/deeper/__init__.py",
            "fruit_features/moments.py",
        ]


def test_python_imports_the_library_from_the_zip(project, tmp_path):
    path = tmp_path / "library.zip"
    path.write_bytes(library_zip([project / "spark_jobs/fruit_features", project / "fruit_contract"]))
    program = "import fruit_features.moments, fruit_contract; print(fruit_features.moments.N)"
    environment = {"PYTHONPATH": str(path), "PATH": os.environ["PATH"]}
    finished = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert finished.stdout == "1\n"


def test_the_library_needs_nothing_of_this_clone(tmp_path):
    """A node has packages and the zip. The clone, which an environment's fruits.pth names, is not there without
    `site`.
    """
    path = tmp_path / release.LIBRARY_ZIP
    packages = [PROJECT / package for package in release_content.LIBRARY_PACKAGES]
    path.write_bytes(library_zip(packages, machine_code()))
    program = """
import importlib, pkgutil, fruit_contract, fruit_features
for package in (fruit_contract, fruit_features):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        print(importlib.import_module(module.name).__file__)
assert fruit_features.embedding.resizing._by_machine_code() is not None
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), sysconfig.get_path("purelib")])}
    command = [sys.executable, "-S", "-c", program]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    files = finished.stdout.splitlines()
    assert len(files) > 30
    assert {file.startswith(f"{path}/") for file in files} == {True}


def test_the_release_id_depends_on_names_and_digests_not_on_their_order():
    digests = {"a": "1", "b": "2"}
    assert release.release_id({"b": "2", "a": "1"}) == release.release_id(digests)
    assert (
        len({release.release_id(digests), release.release_id({"a": "2", "b": "1"}), release.release_id({"a": "1"})})
        == 3
    )
    assert len(release.release_id(digests)) == 16


@pytest.fixture
def local_s3(tmp_path):
    """Runs the local cloud's own S3 with one bucket; yields the connection and the bucket's folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    connection = LakeConnection(
        "fruits-lake", "eu-west-1", f"http://127.0.0.1:{port}", "test-user", secrets.token_hex(16)
    )
    command = [
        sys.executable,
        "-m",
        "local_cloud.s3.server",
        "--root",
        str(tmp_path / "s3"),
        "--port",
        str(port),
        "--bucket",
        "fruits-lake",
    ]
    credentials = {"AWS_ACCESS_KEY_ID": connection.access_key_id, "AWS_SECRET_ACCESS_KEY": connection.secret_access_key}
    process = subprocess.Popen(command, env={**os.environ, **credentials}, cwd=PROJECT, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield connection, tmp_path / "s3/fruits-lake"
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the local S3 did not start")


def test_publishes_to_a_real_s3_api(store, local_s3, monkeypatch):
    from fruit_cli.lake.store import open_store

    connection, bucket = local_s3
    monkeypatch.setattr(publish_module, "open_store", open_store)
    found = publish(connection, say=quietly)
    assert publish(connection, say=quietly) == found
    content = (bucket / "code" / found / "release.json").read_bytes()
    pointer = {"release": found, "manifest_sha256": hashlib.sha256(content).hexdigest()}
    assert json.loads((bucket / "code/current.json").read_text(encoding="utf-8")) == pointer
    manifest = json.loads(content)
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((bucket / "code" / found / name).read_bytes()).hexdigest() == digest


def test_a_bucket_that_is_not_there_is_told_before_anything_is_exported(store, local_s3, monkeypatch):
    from dataclasses import replace

    from fruit_cli.lake.store import open_store

    monkeypatch.setattr(publish_module, "open_store", open_store)
    monkeypatch.setattr(publish_module, "exported_embedder", lambda *_, **__: pytest.fail("exported"))
    with pytest.raises(CommandError, match="s3://no-such-bucket"):
        publish(replace(local_s3[0], bucket="no-such-bucket"), say=quietly)


def test_importing_the_commands_loads_no_heavy_module():
    heavy = "tensorflow keras h5py ai_edge_litert numpy boto3"
    program = f"import sys, fruit_cli.commands.publish; print(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
