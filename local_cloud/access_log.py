"""Notes what was asked of the local cloud and by whom, so that it can be compared with what roles may do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from local_cloud.keys import Caller


class AccessLog:
    """Appends a line of JSON to a file for each request, before the request is answered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def note(self, caller: Caller, **request: Any) -> None:
        self._file.write(json.dumps({"who": caller.role, "region": caller.region, **request}) + "\n")
