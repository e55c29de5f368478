"""Gathers what a release is made of: the files, their digests, and the id that follows from them. It reads the project
and writes nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from fruit_cli.release.machine_code import machine_code
from fruit_cli.release.wheels import file_sha256
from fruit_contract import release
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fruit_cli.release.embedder import ExportedEmbedder

JOBS: Final = {
    release.EXTRACT_FEATURES_JOB: "spark_jobs/extract_features.py",
    release.REFRESH_PCA_JOB: "spark_jobs/refresh_pca.py",
}
LIBRARY_PACKAGES: Final = ("spark_jobs/fruit_features", "fruit_contract")
BOOTSTRAP_SCRIPT: Final = "bootstrap/install_cluster_packages.sh"
# The oldest time a zip can hold: entries must not carry the time of a checkout.
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Release:
    """Holds the content of a release. `files` maps a name below `code/<release>/` to its content (bytes, or a local
    file), `digests` to its SHA-256.
    """

    release_id: str
    embedder_id: str
    files: Mapping[str, bytes | Path]
    digests: Mapping[str, str]

    def manifest(self) -> bytes:
        """Returns the content of `release.json`, which is uploaded after all other files."""
        content = {
            "format": release.RELEASE_FORMAT,
            "release": self.release_id,
            "embedder_id": self.embedder_id,
            "files": dict(sorted(self.digests.items())),
        }
        return (json.dumps(content, indent=2) + "\n").encode()

    def pointer(self) -> dict[str, str]:
        """Returns the content of `code/current.json`: the release's id, and the SHA-256 of its list of files."""
        return {
            release.CURRENT_RELEASE: self.release_id,
            release.MANIFEST_SHA256: hashlib.sha256(self.manifest()).hexdigest(),
        }


def gather_release(
    embedder: ExportedEmbedder, requirements: Path, wheels: Iterable[Path] = (), project: Path = PROJECT
) -> Release:
    """Returns everything below `code/<release>/` except `release.json`.

    Raises:
        CommandError: a file of the project that a release needs is not there, or can't be compiled.
    """
    files: dict[str, bytes | Path] = {name: project / path for name, path in JOBS.items()}
    files[release.BOOTSTRAP_ACTION] = project / BOOTSTRAP_SCRIPT
    files[release.CLUSTER_REQUIREMENTS] = requirements
    files |= {f"{release.WHEELHOUSE}{wheel.name}": wheel for wheel in wheels}
    files |= {f"{release.EMBEDDER}{name}": path for name, path in embedder.files().items()}
    for path in files.values():
        if isinstance(path, Path) and not path.is_file():
            raise CommandError(
                f"A release needs {path}, and it is not there. Restore it (`git status` shows what is missing)."
            )
    files[release.LIBRARY_ZIP] = library_zip([project / package for package in LIBRARY_PACKAGES], machine_code(project))
    digests = {name: _digest(content) for name, content in files.items()}
    return Release(release.release_id(digests), embedder.embedder_id, files, digests)


def library_zip(packages: Iterable[Path], compiled: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
    """Returns the Python files of `packages`, and what is `compiled`, as a zip whose bytes depend on nothing but them.
    Raises CommandError if a package is missing.

    The files are stored and not deflated, because compressed bytes differ from one zlib to the next, and the release's
    id with them.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for package in sorted(packages, key=lambda path: path.name):
            sources = sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix())
            if package / "__init__.py" not in sources:
                raise CommandError(f"A release needs the package {package}, and it is not there. Restore it.")
            for source in sources:
                _add(archive, f"{package.name}/{source.relative_to(package).as_posix()}", source.read_bytes())
        for name, code in sorted(compiled.items()):
            _add(archive, name, code)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _digest(content: bytes | Path) -> str:
    return file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
