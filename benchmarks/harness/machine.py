"""Describes the machine and the versions that a result stands for. It tells nothing that identifies a person's machine
or folders.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_PACKAGES: Final = (
    "ai-edge-litert",
    "onnxruntime",
    "tensorflow-cpu",
    "openvino",
    "daft",
    "ray",
    "pyspark",
    "numpy",
    "pillow",
    "pyarrow",
    "obstore",
)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """Returns the last minute's average number of processes that run or wait for a core, others' processes included."""
    return os.getloadavg()[0]


def describe_machine() -> dict[str, str]:
    """Returns what a reader must know about the machine and the versions to judge a result, by name."""
    return {
        "cores": str(usable_cores()),
        "CPU": _cpu_model(),
        "system": f"{platform.system()}, {platform.machine()}",
        "versions": ", ".join(
            ["Python " + platform.python_version(), *(f"{name} {_version(name)}" for name in _PACKAGES)]
        ),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
