"""How the local Airflow's processes open their database, a file that one of them writes at a time. Airflow imports
these by name.
"""

from __future__ import annotations

from typing import Final

# Seconds to wait for whoever writes. With Python's five, several runs that are started at once end a process of
# Airflow.
CONNECT_ARGUMENTS: Final = {"timeout": 30}
# When a run is marked by hand, the API server now and then waits for itself, with the file locked, as long as this. It
# must give up well before the others do, who would end; whoever asked the API server asks again.
CONNECT_ARGUMENTS_OF_THE_API_SERVER: Final = {"timeout": 5}
