"""Spark's classes as a file that Java maps into memory (class data sharing), so that a step need not find and check
each of them again.

The first features step writes down which classes it loads. When it has ended, an archive of them is made beside other
work, once for an environment. Java passes over an archive that does not fit its own version or the jars that it finds.
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

# Without a word in a step's log where the archive does not fit.
_QUIET: Final = "-Xlog:cds*=off"
# Steps come first; but on a busy machine it must come to its end, too.
_STILL: Final = ("nice", "-n", "5")
# Without it, a step has loaded a small part of what others do.
_OF_A_SESSION: Final = "org/apache/spark/sql/SparkSession"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassArchive:
    """The archive of a node's Java and Spark. What it is made of is part of its name."""

    path: Path
    node: Node

    @classmethod
    def of(cls, node: Node) -> ClassArchive:
        """In the environment, where all local clouds of a clone find it; in this one's home if nothing may be written
        there.
        """
        environment = node.python.parent.parent
        folder = environment if os.access(environment, os.W_OK) else node.home
        return cls(folder / f"spark-classes-{_digest(node)}.jsa", node)

    def java_options(self, list_to: Path | None = None) -> str:
        """Options by which Java uses the archive if there is one, and else writes its classes' names to `list_to`, if
        that is given.
        """
        if self.path.exists():
            return f'"-XX:SharedArchiveFile={self.path}" {_QUIET}'
        return f'"-XX:DumpLoadedClassList={list_to}"' if list_to else ""

    def make(self, listed: Path) -> None:
        """Makes the archive of the classes that were listed, unless there is one or somebody is at it. It takes Java
        some ten seconds.

        A list without a Spark session is passed over.
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
        """Does what `make` does while other work goes on."""
        thread = threading.Thread(target=self.make, args=(listed,), name="class-archive", daemon=True)
        thread.start()
        return thread

    def _problem_of_making(self, listed: Path, target: Path) -> str:
        """What Java or the machine says if the archive could not be made; empty if it was."""
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", STACK_MARK: str(self.node.home)}
        command = [*_STILL, *self._command(listed, target)]
        try:
            made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
        return (made.stdout + made.stderr)[-1000:] or "no word" if made.returncode else ""

    def _command(self, listed: Path, target: Path) -> list[str]:
        # As spark-submit starts Java: the same places in the same order, else Java takes the archive for one of
        # something else.
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
