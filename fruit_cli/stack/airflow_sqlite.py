"""Says how the local Airflow's processes open their database, a file that one of them writes at a time. Airflow imports
these names.
"""

from __future__ import annotations

from typing import Final

# A process waits for so many seconds while another one writes. With Python's default of five, several runs that are
# started at once end a process of Airflow.
CONNECT_ARGUMENTS: Final = {"timeout": 30}
# When a run is marked by hand, the API server at times waits for itself with the file locked, as long as this. It must
# give up well before the other processes do, because they would end. Whoever asked the API server asks again.
CONNECT_ARGUMENTS_OF_THE_API_SERVER: Final = {"timeout": 5}
