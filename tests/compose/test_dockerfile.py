"""Checks the Dockerfile without a container engine, which does not run here: what it copies exists, and every import is
installed.
"""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
import yaml

from local_cloud.project import PROJECT

TEXT = (PROJECT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
ROOTS = ("", "plugins", "spark_jobs")

# What each image is asked to run. Jobs come from the lake, and their packages from the image.
ENTRIES = {
    "airflow": ["dags/*.py", "plugins/fruit_pipeline/**/*.py"],
    "local-cloud": [
        "local_cloud/s3/server.py",
        "local_cloud/emr/server.py",
        "local_cloud/cluster/node_aws.py",
        "spark_jobs/**/*.py",
    ],
    "publisher": [
        *(f"fruit_cli/commands/{command}.py" for command in ("publish", "deliver", "run", "backfill", "estimate")),
        *("fruit_cli/release/export.py", "fruit_cli/__main__.py"),
    ],
}
# Only `--engine tensorflow` needs the first, and the image's engine is LiteRT; only people who load a version elsewhere
# the other.
NOT_NEEDED = {"local-cloud": {"tensorflow", "sklearn"}}


def stages():
    """Returns the instructions of each stage, as (name, rest of the line)."""
    found, current = {}, None
    for line in TEXT.splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, _, current = rest.partition(" AS ")
            found[current] = [("FROM", base)]
        elif name and not name.startswith("#"):
            found[current].append((name, rest))
    return found


IMAGES = [name for name in stages() if name != "base"]


def of_kind(stage, kind):
    return [rest for name, rest in stages()[stage] if name == kind]


def test_the_compose_file_builds_exactly_these_images():
    services = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {service["build"]["target"] for service in services.values() if "build" in service} == set(IMAGES)


def test_the_base_image_is_pinned_to_a_patch_release_and_its_digest():
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", of_kind("base", "FROM")[0])
    assert all(of_kind(image, "FROM") == ["base"] for image in IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_runs_as_nobody_special(image):
    assert stages()[image][-2] == ("USER", "10001")
    assert stages()[image][-1][0] == "CMD"


@pytest.mark.parametrize("image", IMAGES)
def test_packages_are_installed_with_hashes_only(image):
    for run in of_kind(image, "RUN"):
        for command in run.split("&&"):
            assert re.fullmatch(
                r"pip install --require-hashes --no-deps --requirement requirements/[a-z-]+\.txt",
                " ".join(command.split()),
            )


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_exists_and_is_not_ignored(image):
    allowed = {
        line[1:]
        for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    for copy in of_kind(image, "COPY"):
        *sources, _ = copy.split()
        for source in sources:
            assert (PROJECT / source).exists(), source
            assert source.split("/")[0] in allowed, source


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
def test_everything_that_the_image_imports_is_installed_in_it(image):
    distributions = packages_distributions()
    installed = {normal(name) for path in requirement_files(image) for name in pinned(path)}
    needed = third_party_imports(ENTRIES[image]) - NOT_NEEDED.get(image, set())
    assert needed, "an image that imports nothing is not what is meant"
    missing = {
        module for module in needed if not {normal(name) for name in distributions.get(module, [module])} & installed
    }
    assert missing == set()


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
def test_every_project_module_that_the_image_imports_is_copied(image):
    copied = [source.rstrip("/") for copy in of_kind(image, "COPY") for source in copy.split()[:-1]]
    for path in project_modules(ENTRIES[image]):
        relative = path.relative_to(PROJECT).as_posix()
        # Jobs reach the local cloud through the lake, with their library.
        if not (image == "local-cloud" and relative.startswith("spark_jobs/")):
            assert any(relative.startswith(f"{folder}/") for folder in copied), relative


def requirement_files(image):
    return [PROJECT / found for run in of_kind(image, "RUN") for found in re.findall(r"requirements/[a-z-]+\.txt", run)]


def pinned(path):
    return re.findall(r"^([A-Za-z0-9._-]+)==", path.read_text(encoding="utf-8"), re.MULTILINE)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party_imports(patterns):
    """Returns the top-level modules that these files import, directly or not, and that are neither the project's nor
    the standard library's.
    """
    modules = {module for path in project_modules(patterns) for module in imports_of(path)}
    ours = {"fruit_cli", "fruit_contract", "fruit_features", "fruit_pipeline", "local_cloud"}
    return {module.split(".")[0] for module in modules} - ours - set(sys.stdlib_module_names)


def project_modules(patterns):
    waiting = [path for pattern in patterns for path in PROJECT.glob(pattern)]
    found = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [target for module in imports_of(path) if (target := file_of(module))]
    return found


def file_of(module):
    for root in ROOTS:
        base = PROJECT / root / module.replace(".", "/")
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def imports_of(path):
    """Returns every module that the file may import when it runs, at its top or inside a function, but not only for
    type checking.
    """
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    found = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {
                f"{node.module}.{alias.name}" for alias in node.names if file_of(f"{node.module}.{alias.name}")
            }
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += list(ast.iter_child_nodes(node))
    return found
