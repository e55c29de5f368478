#!/usr/bin/env python
"""Checks an installed wheel with the Python that runs this, for `make compat` and the tests. It writes what is wrong,
by check, to a file.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEEL: Final = "fruits-airflow"
DAGS: Final = {"fruit_image_pipeline", "sweep_orphan_clusters"}


def modules() -> Iterator[str]:
    """Imports every module of the wheel, and yields which fail or come from elsewhere than the wheel."""
    for file in files(WHEEL) or []:
        if file.suffix == ".py":
            name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
            try:
                imported = importlib.import_module(name)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is told
                yield f"{name}: {error!r}"
            else:
                if Path(str(imported.__file__)) != Path(str(file.locate())):
                    yield f"{name} is that of {imported.__file__}"


def dags() -> Iterator[str]:
    """Parses Airflow's folder of DAGs as Airflow does, writes them as the scheduler reads them, and yields what is
    wrong.
    """
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    bag = DagBag()
    yield from (f"{file}: {error.strip().splitlines()[-1]}" for file, error in bag.import_errors.items())
    if set(bag.dags) != DAGS:
        yield f"the DAGs are {sorted(bag.dags)}"
    for dag in bag.dags.values():
        DagSerialization.from_dict(DagSerialization.to_dict(dag))


def plugin(mounted: str) -> Iterator[str]:
    """Loads the plugin by its entry point, and again with the repository's plugins/ mounted, too. Yields what is wrong,
    as when it is not loaded exactly once.
    """
    from airflow import plugins_manager, settings

    for folder, source in ((settings.PLUGINS_FOLDER, f"{WHEEL}=="), (mounted, "$PLUGINS_FOLDER/fruits_ui.py")):
        settings.PLUGINS_FOLDER = folder
        plugins_manager._get_plugins.cache_clear()  # noqa: SLF001
        plugins, errors = plugins_manager._get_plugins()  # noqa: SLF001
        # Of plugins with the same name Airflow takes the first, and says of the others that they are registered
        # already.
        yield from (
            f"{where}: {error}"
            for where, error in errors.items()
            if folder != mounted or "already registered" not in error
        )
        sources: list[Any] = [str(found.source) for found in plugins if found.name == "fruits_ui"]
        if len(sources) != 1 or source not in sources[0]:
            yield f"with {folder} mounted, the plugin comes from {sources}"


if __name__ == "__main__":
    _, told_to, plugins_folder = sys.argv
    told = {"modules": list(modules()), "dags": list(dags()), "plugin": list(plugin(plugins_folder))}
    Path(told_to).write_text(json.dumps(told), encoding="utf-8")
