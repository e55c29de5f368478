"""Checks the compose file against the Compose specification's schema and the project's own rules, and runs its
services' commands natively.
"""

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

from fruit_cli.airflow_client.http import current_airflow
from fruit_cli.lake.connection import current_connection
from fruit_cli.lake.target import Target
from fruit_cli.release.embedder import EXPORT_FORMAT
from fruit_cli.release.weights_sources import IMAGENET_TENSORS_SHA256
from fruit_cli.release.wheels import file_sha256
from fruit_cli.stack.airflow_environment import SCHEDULER_MODULE, AirflowPlace, airflow_environment, airflow_processes
from fruit_cli.stack.lifecycle import PreferredPorts
from fruit_contract import lake, release
from fruit_contract.regions import EU_REGIONS
from fruit_pipeline.settings import VARIABLES, load_settings
from local_cloud.project import PROJECT
from local_cloud.stack.secrets import draw

COMPOSE_FILE = PROJECT / "docker-compose.yaml"
ONE_SHOTS = {"migrate", "publish"}
# Started by `docker compose run` alone.
COMMAND_LINE = "cli"
BUILDERS = {"airflow": "migrate", "local-cloud": "local-s3", "publisher": "publish"}
# What a person may leave out, and what stands for it then.
OPTIONAL = {
    "FRUITS_LOCAL_UI_PORT": str(PreferredPorts.airflow),
    "FRUITS_LOCAL_S3_PORT": str(PreferredPorts.s3),
    "FRUITS_LOCAL_EMR_PORT": str(PreferredPorts.emr),
    "COMPOSE_PROJECT_NAME": "fruits",
    "NO_PROXY": "",
}
# Inside its container a service listens on every address; what reaches the host is told by `ports`.
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # compared with and replaced, never bound


PORTS = {"FRUITS_LOCAL_UI_PORT": "8080", "FRUITS_LOCAL_S3_PORT": "9300", "FRUITS_LOCAL_EMR_PORT": "9301"}


def load(text=None):
    return yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8") if text is None else text)


SERVICES = load()["services"]


def variables_of(value):
    """Returns every `${NAME...}` of a value, as (name, what follows the name)."""
    return re.findall(r"\$\{([A-Z0-9_]+)([^}]*)\}", json.dumps(value))


def interpolated(value, variables):
    """Fills in variables as Compose does, for the forms used here: `${NAME:?message}`, `${NAME:-default}` and `$$`."""
    if isinstance(value, dict):
        return {key: interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, variables) for item in value]
    if isinstance(value, str):
        given = re.sub(r"\$\{([A-Z0-9_]+):([?-])([^}]*)\}", lambda match: variables.get(match[1]) or match[3], value)
        return given.replace("$$", "$")
    return value


# --- the file


def check_schema(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_keeps_to_the_compose_specification():
    finished = check_schema(COMPOSE_FILE)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.slow
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
    assert set(SERVICES) == airflow | {"postgres", "local-s3", "local-emr", COMMAND_LINE} | ONE_SHOTS


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # The images of our own are non-root by their Dockerfile.
    assert is_our_own(service) or service["user"] not in ("root", "0")
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_and_tells_its_health_or_runs_once(name):
    service = SERVICES[name]
    if name in {*ONE_SHOTS, COMMAND_LINE}:
        assert service["restart"] == "no"
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


def is_our_own(service):
    return service["image"].startswith("${COMPOSE_PROJECT_NAME:-fruits}-")


def test_up_with_wait_takes_no_service_that_has_ended_for_a_failure():
    # Compose waits for a service to run, or for its end if another service depends on just that.
    waited_for_to_end = {
        needed
        for service in SERVICES.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully" and "profiles" not in service
    }
    started_by_up = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert waited_for_to_end == {name for name in started_by_up if SERVICES[name]["restart"] == "no"} == ONE_SHOTS


def test_no_run_starts_before_there_is_a_release():
    assert SERVICES["airflow-scheduler"]["depends_on"]["publish"]["condition"] == "service_completed_successfully"


def test_clones_do_not_share_a_project_an_image_or_a_port():
    assert "name" not in load()
    for service in SERVICES.values():
        assert "container_name" not in service
        assert is_our_own(service) or "@sha256:" in service["image"]
        assert all("${" in port for port in service.get("ports", ()))
    # A volume with a name of its own would be one for all projects.
    assert not any(load()["volumes"].values())


@pytest.mark.parametrize("variables", [{}, dict.fromkeys(OPTIONAL, "18080")])
def test_ports_are_published_on_the_loopback_only(variables):
    published = [port for service in SERVICES.values() for port in interpolated(service.get("ports", []), variables)]
    expected = [(variables.get(name) or OPTIONAL[name], inside) for name, inside in PORTS.items()]
    assert sorted(published) == sorted(f"127.0.0.1:{outside}:{inside}" for outside, inside in expected)


def test_airflow_and_the_command_line_know_where_the_ui_is_for_people():
    for service, name in (("airflow-apiserver", "AIRFLOW__API__BASE_URL"), (COMMAND_LINE, "AIRFLOW_UI_URL")):
        address = SERVICES[service]["environment"][name]
        assert interpolated(address, {}) == "http://127.0.0.1:8080"
        assert interpolated(address, {"FRUITS_LOCAL_UI_PORT": "18080"}) == "http://127.0.0.1:18080"


def test_images_from_elsewhere_are_pinned_by_digest():
    for service in SERVICES.values():
        assert is_our_own(service) or re.fullmatch(r"[a-z]+:\d+\.\d+-[a-z]+@sha256:[0-9a-f]{64}", service["image"])


def test_every_image_of_our_own_is_built_by_one_service_and_pulled_by_none():
    # Two services that build one name at once get in each other's way where the image is not there yet.
    assert {service["build"]["target"]: name for name, service in SERVICES.items() if "build" in service} == BUILDERS
    built = {SERVICES[name]["image"]: target for target, name in BUILDERS.items()}
    for service in SERVICES.values():
        if is_our_own(service):
            assert service["image"] == f"${{COMPOSE_PROJECT_NAME:-fruits}}-{built[service['image']]}:local"
            assert service["pull_policy"] == "never"


def test_no_proxy_of_the_machine_stands_between_the_services():
    an_address = re.compile(rf"(?<=[/@])(?:{'|'.join(SERVICES)})\b")
    addressed = {found for service in SERVICES.values() for found in an_address.findall(json.dumps(service))}
    assert addressed == {"local-s3", "local-emr", "airflow-apiserver", "postgres"}
    for name, service in SERVICES.items():
        environment = interpolated(service["environment"], {"NO_PROXY": "intra.example"})
        if name != "postgres":
            assert environment["NO_PROXY"] == environment["no_proxy"]
            assert {*addressed, "127.0.0.1", "localhost", "intra.example"} <= set(environment["NO_PROXY"].split(","))


def test_the_command_line_reaches_lake_and_airflow_without_anything_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("FRUITS_LOCAL_HOME", str(tmp_path))
    service = SERVICES[COMMAND_LINE]
    environment = interpolated(service["environment"], {"AIRFLOW_ADMIN_PASSWORD": "a secret"})
    given = environment | {"AWS_ACCESS_KEY_ID": "drawn", "AWS_SECRET_ACCESS_KEY": "drawn, too"}
    assert current_connection(Target.LOCAL, given).endpoint_url == environment["AWS_ENDPOINT_URL_S3"]
    address = current_airflow(Target.LOCAL, environment)
    assert address.login is not None
    assert address.is_local
    users = SERVICES["airflow-apiserver"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
    assert users.partition(":")[0] == address.login.user
    assert "AIRFLOW_ADMIN_PASSWORD" in SERVICES["migrate"]["environment"]
    # `docker compose run` would do again what it depends on and has ended.
    assert "depends_on" not in service
    assert service["image"] == SERVICES["publish"]["image"]


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
        for name, rest in variables_of(service):
            assert rest.startswith(":?") if name not in OPTIONAL else rest == f":-{OPTIONAL[name]}"


def test_the_example_file_names_every_variable_and_holds_no_secret():
    lines = (PROJECT / ".env.example").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in required)
    optional = {found[1] for line in lines if (found := re.fullmatch(r"# ([A-Z0-9_]+)=.*", line))}
    assert optional == set(OPTIONAL)
    assert {line.rstrip("=") for line in required} | optional == {name for name, _ in variables_of(SERVICES)}


def test_airflows_processes_are_those_of_make_up():
    ours = {
        name.replace("apiserver", "api-server"): tuple(s["command"])
        for name, s in SERVICES.items()
        if name.startswith("airflow-")
    }
    theirs = airflow_processes(Path("airflow"), 8080)
    # The local one loads what its tasks import first, for LocalExecutor forks them.
    _, _, module, *arguments = theirs["airflow-scheduler"]
    assert module == SCHEDULER_MODULE
    theirs["airflow-scheduler"] = ("airflow", *arguments)
    assert ours == {
        name: tuple(ANY_ADDRESS if part == "127.0.0.1" else part for part in command)
        for name, command in theirs.items()
    }


def test_the_products_settings_are_those_of_make_up():
    environment = interpolated(
        SERVICES["airflow-scheduler"]["environment"], dict.fromkeys((n for n, _ in variables_of(SERVICES)), "x")
    )
    ours = {name: value for name, value in environment.items() if name.startswith("FRUITS_")}
    assert set(ours) <= set(VARIABLES.values())
    place = AirflowPlace(
        PROJECT, PROJECT, PROJECT, PROJECT, 8080, "", "", region="eu-west-1", bucket=lake.DEFAULT_BUCKET
    )
    theirs = airflow_environment(place, draw(), {})
    assert set(ours) == {name for name in theirs if name.startswith("FRUITS_")}
    for name in (
        "FRUITS_SECURITY_CONFIGURATION",
        "FRUITS_SUBNET_ID",
        "FRUITS_RETRY_DELAY_SECONDS",
        "FRUITS_LOG_WAIT_MINUTES",
    ):
        assert ours[name] == theirs[name]
    settings = load_settings(ours)
    assert settings.region in EU_REGIONS
    assert settings.lake_bucket == lake.DEFAULT_BUCKET
    connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
    assert set(connection["extra"]["service_config"]) == {"s3", "emr"}


@pytest.mark.airflow
def test_airflows_settings_are_ones_it_knows():
    program = (
        "import json, sys; from airflow.configuration import conf; "
        "print(json.dumps({f'AIRFLOW__{s}__{o}'.upper(): 1 for s, d in conf.configuration_description.items() for o in "
        "d['options']}))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    known = set(json.loads(finished.stdout.splitlines()[-1]))
    ours = {name for name in SERVICES["airflow-scheduler"]["environment"] if name.startswith("AIRFLOW__")}
    # Asked for by the simple auth manager itself, as options that may be missing.
    assert ours - known <= {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}


# --- the services' own commands, on this machine


class NativeServices:
    """Runs services of the compose file without containers: with the same commands, and with paths, ports and host
    names mapped to this machine.
    """

    def __init__(self, folder):
        self._ports = {port: free_port() for port in ("9300", "9301")}
        self._folder = folder
        self._processes = []
        self._secrets = {name: secrets.token_hex(16) for name, _ in variables_of(SERVICES) if name not in OPTIONAL}

    def adapted(self, text, volume):
        for port, own in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(own), text)
        text = re.sub(r"\blocal-(s3|emr)(?=:)", "127.0.0.1", text.replace(ANY_ADDRESS, "127.0.0.1"))
        return text.replace("/var/lib/fruits", str(self._folder / volume))

    def command(self, name, command):
        mounted = [v.partition(":")[0] for v in SERVICES[name].get("volumes", ()) if v.endswith(":/var/lib/fruits")]
        volume = mounted[0] if mounted else "own"
        words = [self.adapted(word, volume) for word in interpolated(command, self._secrets)]
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    def environment(self, name):
        ours = {
            key: self.adapted(value, "")
            for key, value in interpolated(SERVICES[name]["environment"], self._secrets).items()
        }
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "JAVA_HOME") if key in os.environ}
        home = self._folder / "publisher"  # the image's own FRUITS_LOCAL_HOME
        path = os.pathsep.join([str(PROJECT), str(PROJECT / "spark_jobs")])
        # As Docker hands it on; nobody listens there.
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
        return kept | proxies | ours | {"PYTHONPATH": path, "FRUITS_LOCAL_HOME": str(home), "LC_ALL": "C.UTF-8"}

    def start(self, name):
        log = (self._folder / f"{name}.log").open("wb")
        command = self.command(name, SERVICES[name]["command"])
        with log:
            process = subprocess.Popen(
                command, env=self.environment(name), stdout=log, stderr=log, cwd=PROJECT, start_new_session=True
            )
        self._processes.append(process)
        deadline = time.monotonic() + 60
        while not self.healthy(name):
            assert process.poll() is None, (self._folder / f"{name}.log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, f"{name} never got healthy"
            time.sleep(0.1)

    def run(self, name, *words):
        return subprocess.run(
            self.command(name, [*SERVICES[name].get("entrypoint", ()), *(words or SERVICES[name]["command"])]),
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


@pytest.mark.slow
def test_s3_and_emr_start_with_their_commands_and_get_healthy(native):
    s3 = native.client("s3", "9300")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [lake.DEFAULT_BUCKET]
    s3.put_object(Bucket=lake.DEFAULT_BUCKET, Key="raw/ingest_date=2026-11-22/_SUCCESS", Body=b"")
    assert native.client("emr", "9301").list_clusters()["Clusters"] == []


def test_publish_runs_with_its_command(native, tmp_path_factory):
    # An embedder that has been exported already: the export itself is tested where it lives.
    root = native._folder / "publisher" / "embedder"
    folder = root / release.embedder_id(IMAGENET_TENSORS_SHA256, release.PREPROCESSING_VERSION)
    folder.mkdir(parents=True)
    for name in (release.LITERT_MODEL, release.TENSORFLOW_GRAPH):
        (folder / name).write_text(name, encoding="utf-8")
    digests = {name: file_sha256(folder / name) for name in (release.LITERT_MODEL, release.TENSORFLOW_GRAPH)}
    manifest = {
        "embedder_id": folder.name,
        "preprocessing_version": release.PREPROCESSING_VERSION,
        "files": digests,
        "exported_with": {"format": EXPORT_FORMAT},
    }
    (folder / release.EMBEDDER_MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    finished = native.run("publish")
    assert finished.returncode == 0, finished.stderr
    pointer = (
        native.client("s3", "9300").get_object(Bucket=lake.DEFAULT_BUCKET, Key=lake.CURRENT_RELEASE_KEY)["Body"].read()
    )
    assert json.loads(pointer)["release"] in finished.stdout


def test_the_command_line_delivers(native, tmp_path):
    (tmp_path / "Kiwi").mkdir()
    (tmp_path / "Kiwi" / "1.jpg").write_bytes(b"a picture")
    finished = native.run(COMMAND_LINE, "deliver", "--directory", str(tmp_path), "--date", "2026-11-23")
    assert finished.returncode == 0, finished.stderr
    listed = native.client("s3", "9300").list_objects_v2(
        Bucket=lake.DEFAULT_BUCKET, Prefix=lake.raw_prefix("2026-11-23")
    )["Contents"]
    assert [stored["Key"] for stored in listed] == [
        lake.image_key("2026-11-23", "Kiwi", "1.jpg"),
        lake.success_marker_key("2026-11-23"),
    ]


def test_the_command_line_shows_what_it_can_do(native):
    finished = native.run(COMMAND_LINE)
    assert finished.returncode == 0
    assert "deliver" in finished.stdout


@pytest.mark.slow
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
