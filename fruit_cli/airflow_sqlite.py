"""How the local Airflow's processes open their database, a file that one of them writes at a time. Airflow imports this by name."""

from __future__ import annotations

from typing import Final

# Seconds to wait for whoever writes. With Python's five, several runs that are started at once end a process of Airflow; and when a run is
# marked by hand, Airflow now and then waits for itself as long as this.
CONNECT_ARGUMENTS: Final = {"timeout": 10}
