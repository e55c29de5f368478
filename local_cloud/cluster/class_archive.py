"""Keeps Spark's classes in a file that Java maps into memory, so that steps start sooner.

Java calls it class data sharing: a step need not find and check each class again. The first features step writes down
which classes it loads. When it has ended, an archive of them is made in the background, once for an environment. Java
ignores an archive that does not fit its own version or the jars that it finds.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from local_cloud.cluster.spark_environment import QUICK_JAVA
from local_cloud.stack.sweep import STACK_MARK

if TYPE_CHECKING:
    from pathlib import Path

    from local_cloud.cluster.spark_environment import Node

# Java must not write into a step's log that the archive does not fit.
_QUIET: Final = "-Xlog:cds*=off"
# Steps take precedence over making the archive, which must still finish on a busy machine.
_STILL: Final = ("nice", "-n", "5")
# A step that did not load this class has loaded only a small part of what other steps load.
_OF_A_SESSION: Final = "org/apache/spark/sql/SparkSession"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassArchive:
    """Makes and names the archive of a node's Java and Spark. The name holds a digest of what it is made of."""

    path: Path
    node: Node

    @classmethod
    def of(cls, node: Node) -> ClassArchive:
        """Returns the archive for a node.

        It lies in the Python environment, where all local clouds of a clone find it, or in the home of this local cloud
        if the environment is read-only.
        """
        environment = node.python.parent.parent
        folder = environment if os.access(environment, os.W_OK) else node.home
        return cls(folder / f"spark-classes-{_digest(node)}.jsa", node)

    def java_options(self, list_to: Path | None = None) -> str:
        """Returns the options by which Java uses the archive.

        As long as there is no archive, they make Java write the names of the classes it loads to `list_to`; they are
        empty if `list_to` is not given.
        """
        if self.path.exists():
            return f'"-XX:SharedArchiveFile={self.path}" {_QUIET}'
        return f'"-XX:DumpLoadedClassList={list_to}"' if list_to else ""

    def make(self, listed: Path) -> None:
        """Makes the archive of the listed classes, unless it exists or another process is making it.

        Ignores a list without a Spark session. Java takes some ten seconds.
        """
        if _OF_A_SESSION not in listed.read_text(encoding="utf-8").split():
            return
        unfinished = self.path.with_suffix(".unfinished")
        with self.path.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self.path.exists():
                return
            if problem := self._problem_of_making(listed, unfinished):
                logger.warning("Spark's classes could not be archived, steps do without: %s", problem)
                unfinished.unlink(missing_ok=True)
                return
            for earlier in self.path.parent.glob("spark-classes-*.jsa"):
                earlier.unlink()
            unfinished.replace(self.path)
        logger.info("Spark's classes are archived: %s", self.path)

    def make_beside(self, listed: Path) -> threading.Thread:
        """Starts a thread that does what `make` does, and returns it."""
        thread = threading.Thread(target=self.make, args=(listed,), name="class-archive", daemon=True)
        thread.start()
        return thread

    def _problem_of_making(self, listed: Path, target: Path) -> str:
        """Makes the archive and returns what Java or the machine says if that fails, else an empty text."""
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", STACK_MARK: str(self.node.home)}
        command = [*_STILL, *self._command(listed, target)]
        try:
            made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
        return (made.stdout + made.stderr)[-1000:] or "no word" if made.returncode else ""

    def _command(self, listed: Path, target: Path) -> list[str]:
        # The class path must be the one with which spark-submit starts Java, in the same order. Otherwise Java does not
        # use the archive.
        places = f"{self.node.spark_home / 'conf'}:{self.node.spark_home / 'jars'}/*"
        options = ["-Xshare:dump", f"-XX:SharedClassListFile={listed}", f"-XX:SharedArchiveFile={target}"]
        return [
            str(self.node.java_home / "bin" / "java"),
            f"-Xmx{self.node.driver_memory}",
            *QUICK_JAVA.split(),
            *options,
            "-cp",
            places,
        ]


def _digest(node: Node) -> str:
    release, jars = node.java_home / "release", node.spark_home / "jars"
    java = release.read_text(encoding="utf-8") if release.is_file() else ""
    installed = jars.stat().st_mtime_ns if jars.is_dir() else 0
    text = "\n".join([str(node.java_home.resolve()), java, str(jars), str(installed), QUICK_JAVA])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
