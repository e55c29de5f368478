"""The compose file against the Compose specification's schema and the project's own rules; its services' commands, run natively."""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import yaml

from fruit_cli.airflow_environment import airflow_processes
from fruit_cli.embedder_artefact import EXPORT_FORMAT
from fruit_cli.wheels import file_sha256
from fruit_contract import lake, release
from fruit_contract.regions import EU_REGIONS
from fruit_pipeline.settings import VARIABLES, load_settings

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = PROJECT / "docker-compose.yaml"
ONE_SHOTS = {"migrate", "publish"}
# Inside its container a service listens on every address; what reaches the host is told by `ports`.
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # compared with and replaced, never bound


def load(text=None):
    return yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8") if text is None else text)


SERVICES = load()["services"]


def variables_of(value):
    """Every `${NAME...}` of a value, as (name, what follows the name)."""
    return re.findall(r"\$\{([A-Z_]+)([^}]*)\}", json.dumps(value))


def interpolated(value, variables):
    """As Compose does it, for the forms used here: `${NAME:?message}` and `$$`."""
    if isinstance(value, dict):
        return {key: interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{([A-Z_]+)[^}]*\}", lambda match: variables[match.group(1)], value).replace("$$", "$")
    return value


# --- the file


def check_schema(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_keeps_to_the_compose_specification():
    finished = check_schema(COMPOSE_FILE)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_schema_check_would_notice_a_slip(tmp_path):
    broken = copy.deepcopy(load())
    broken["services"]["local-s3"]["healthchek"] = broken["services"]["local-s3"].pop("healthcheck")
    path = tmp_path / "docker-compose.yaml"
    path.write_text(yaml.safe_dump(broken), encoding="utf-8")
    finished = check_schema(path)
    assert finished.returncode == 1
    assert "healthchek" in finished.stdout


def test_has_the_services_of_make_up_and_postgres_under_airflow():
    airflow = {"airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
    assert set(SERVICES) == airflow | {"postgres", "local-s3", "local-emr"} | ONE_SHOTS


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # The images of our own are non-root by their Dockerfile.
    assert "build" in service or service["user"] not in ("root", "0")
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_and_tells_its_health_or_runs_once(name):
    service = SERVICES[name]
    if name in ONE_SHOTS:
        assert service["restart"] == "no"
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "ports" in service])
def test_ports_are_published_on_the_loopback_only(name):
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name]["ports"])


def test_images_from_elsewhere_are_pinned():
    for service in SERVICES.values():
        if "build" not in service:
            assert re.fullmatch(r"[a-z]+:\d+\.\d+-[a-z]+", service["image"])


def test_what_is_waited_for_exists_and_can_be_waited_for():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONE_SHOTS else "service_healthy"
            assert how["condition"] == expected, (name, needed)
            assert needed in SERVICES


def test_volumes_are_declared_and_used():
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(load()["volumes"])


def test_every_secret_comes_from_the_environment_and_is_required():
    for service in SERVICES.values():
        for name, value in service["environment"].items() if "environment" in service else ():
            if re.search(r"PASSWORD$|SECRET|FERNET|JWT|ACCESS_KEY|_CONN$|^AIRFLOW_CONN_", name):
                assert "${" in value, name
        assert all(rest.startswith(":?") for _, rest in variables_of(service))


def test_the_example_file_names_every_variable_and_holds_no_value():
    lines = [line for line in (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    assert {line.rstrip("=") for line in lines} == {name for name, _ in variables_of(SERVICES)}


def test_airflows_processes_are_those_of_make_up():
    ours = {name.replace("apiserver", "api-server"): tuple(s["command"]) for name, s in SERVICES.items() if name.startswith("airflow-")}
    theirs = airflow_processes(Path("airflow"), 8080)
    assert ours == {name: tuple(ANY_ADDRESS if part == "127.0.0.1" else part for part in command) for name, command in theirs.items()}


def test_the_products_settings_are_ones_it_knows():
    environment = interpolated(SERVICES["airflow-scheduler"]["environment"], dict.fromkeys((n for n, _ in variables_of(SERVICES)), "x"))
    ours = {name: value for name, value in environment.items() if name.startswith("FRUITS_")}
    assert set(ours) <= set(VARIABLES.values())
    settings = load_settings(ours)
    assert settings.region in EU_REGIONS
    assert settings.lake_bucket == lake.DEFAULT_BUCKET
    connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
    assert set(connection["extra"]["service_config"]) == {"s3", "emr"}


@pytest.mark.airflow
def test_airflows_settings_are_ones_it_knows():
    program = (
        "import json, sys; from airflow.configuration import conf; "
        "print(json.dumps({f'AIRFLOW__{s}__{o}'.upper(): 1 for s, d in conf.configuration_description.items() for o in d['options']}))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    known = set(json.loads(finished.stdout.splitlines()[-1]))
    ours = {name for name in SERVICES["airflow-scheduler"]["environment"] if name.startswith("AIRFLOW__")}
    # Asked for by the simple auth manager itself, as options that may be missing.
    assert ours - known <= {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}


# --- the services' own commands, on this machine


class NativeServices:
    """Runs services of the compose file without containers: same commands, paths, ports and host names mapped to this machine."""

    def __init__(self, folder):
        self._ports = {port: free_port() for port in ("9300", "9301")}
        self._folder = folder
        self._processes = []
        self._secrets = {name: secrets.token_hex(16) for name, _ in variables_of(SERVICES)}

    def adapted(self, text, volume):
        for port, own in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(own), text)
        text = re.sub(r"\blocal-(s3|emr)(?=:)", "127.0.0.1", text.replace(ANY_ADDRESS, "127.0.0.1"))
        return text.replace("/var/lib/fruits", str(self._folder / volume))

    def command(self, name, command):
        volume = next(v for v in SERVICES[name]["volumes"] if v.endswith(":/var/lib/fruits")).partition(":")[0]
        words = [self.adapted(word, volume) for word in interpolated(command, self._secrets)]
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    def environment(self, name):
        ours = {key: self.adapted(value, "") for key, value in interpolated(SERVICES[name]["environment"], self._secrets).items()}
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "JAVA_HOME") if key in os.environ}
        home = self._folder / "publisher"  # the image's own FRUITS_LOCAL_HOME
        path = os.pathsep.join([str(PROJECT), str(PROJECT / "spark_jobs")])
        return kept | ours | {"PYTHONPATH": path, "FRUITS_LOCAL_HOME": str(home), "LC_ALL": "C.UTF-8"}

    def start(self, name):
        log = (self._folder / f"{name}.log").open("wb")
        command = self.command(name, SERVICES[name]["command"])
        with log:
            process = subprocess.Popen(command, env=self.environment(name), stdout=log, stderr=log, cwd=PROJECT, start_new_session=True)
        self._processes.append(process)
        deadline = time.monotonic() + 60
        while not self.healthy(name):
            assert process.poll() is None, (self._folder / f"{name}.log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, f"{name} never got healthy"
            time.sleep(0.1)

    def run(self, name):
        return subprocess.run(
            self.command(name, SERVICES[name]["command"]),
            env=self.environment(name),
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT,
        )

    def healthy(self, name):
        check = self.command(name, SERVICES[name]["healthcheck"]["test"][1:])
        return subprocess.run(check, env=self.environment(name), capture_output=True, check=False).returncode == 0

    def client(self, service, port):
        return boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=f"http://127.0.0.1:{self._ports[port]}",
            aws_access_key_id=self._secrets["FRUITS_LOCAL_ACCESS_KEY_ID"],
            aws_secret_access_key=self._secrets["FRUITS_LOCAL_SECRET_ACCESS_KEY"],
        )

    def stop(self):
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    services = NativeServices(tmp_path_factory.mktemp("compose"))
    try:
        assert not services.healthy("local-s3"), "a health check that always passes says nothing"
        assert not services.healthy("local-emr")
        services.start("local-s3")
        services.start("local-emr")
        yield services
    finally:
        services.stop()


def test_s3_and_emr_start_with_their_commands_and_get_healthy(native):
    s3 = native.client("s3", "9300")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [lake.DEFAULT_BUCKET]
    s3.put_object(Bucket=lake.DEFAULT_BUCKET, Key="raw/ingest_date=2026-11-22/_SUCCESS", Body=b"")
    assert native.client("emr", "9301").list_clusters()["Clusters"] == []


def test_publish_runs_with_its_command(native, tmp_path_factory):
    # An embedder that has been exported already: the export itself is tested where it lives.
    root = native._folder / "publisher" / "embedder"
    folder = root / "mobilenetv2-abc-p1"
    folder.mkdir(parents=True)
    for name in (release.ONNX_MODEL, release.TENSORFLOW_GRAPH):
        (folder / name).write_text(name, encoding="utf-8")
    digests = {name: file_sha256(folder / name) for name in (release.ONNX_MODEL, release.TENSORFLOW_GRAPH)}
    manifest = {"embedder_id": folder.name, "files": digests, "exported_with": {"format": EXPORT_FORMAT}}
    (folder / release.EMBEDDER_MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    (root / "default.json").write_text(json.dumps({"embedder_id": folder.name}), encoding="utf-8")
    finished = native.run("publish")
    assert finished.returncode == 0, finished.stderr
    pointer = native.client("s3", "9300").get_object(Bucket=lake.DEFAULT_BUCKET, Key=lake.CURRENT_RELEASE_KEY)["Body"].read()
    assert json.loads(pointer)["release"] in finished.stdout


def test_the_password_file_of_airflow_is_what_its_auth_manager_reads(tmp_path):
    script = interpolated(SERVICES["migrate"]["command"], {})[2]
    (tmp_path / "airflow").write_text("#!/bin/sh\n[ \"$*\" = 'db migrate' ]\n", encoding="utf-8")
    (tmp_path / "airflow").chmod(0o755)
    password_file = tmp_path / "passwords.json"
    environment = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "AIRFLOW_ADMIN_PASSWORD": 'quotes " and \\ backslashes',
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file),
    }
    subprocess.run(["bash", "-euc", script], env=environment, check=True)
    assert json.loads(password_file.read_text(encoding="utf-8")) == {"admin": 'quotes " and \\ backslashes'}
