"""Puts the program that starts a node (`node_start.py`) into the lake, for the nodes of a cluster.

EMR fetches a bootstrap action from S3. It must not come from `code/`, where whoever can change a release could change
the program that checks it, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_contract.lake import node_start_key

if TYPE_CHECKING:
    from fruit_pipeline.lake.store import Lake


@dataclass(frozen=True)
class NodeProgram:
    """Describes a file that nodes run. Its digest is its name in the lake, so that one Airflow does not change what
    another asked for.
    """

    path: Path

    @cached_property
    def content(self) -> bytes:
        return self.path.read_bytes()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def put(self, lake: Lake) -> None:
        """Writes the program into the lake, in place of whatever has its name there."""
        lake.write(node_start_key(self.sha256), self.content, "text/x-python")


NODE_START: Final = NodeProgram(Path(__file__).with_name("node_start.py"))
