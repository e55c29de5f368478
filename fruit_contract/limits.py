"""How much a run may be asked to do: Airflow's side refuses more before anything is started, the steps are made for this much."""

from __future__ import annotations

from typing import Final

# Of all its dates together: their listings and ledgers are in the driver's memory at once.
MOST_IMAGES_A_RUN: Final = 10_000_000
# More than ten years. A longer range is a slip of the pen.
MOST_DATES_A_RUN: Final = 4_000

# What the driver's Python needs: something whatever it does, and more for each image of the run's dates. To commit one late image of a date
# of a million it took 1.5 GB in all (`python -m benchmarks --only scale`).
DRIVER_BASE_BYTES: Final = 1_000_000_000
DRIVER_BYTES_AN_IMAGE: Final = 1_400
# What the tasks send back to the driver's Java.
RESULT_BYTES_AN_IMAGE: Final = 100
# What one Python worker may take. There is one for each core of an executor.
PYTHON_WORKER_BYTES: Final = 700_000_000
