"""Says how much a run may be asked to do. The steps are made for this much, and Airflow refuses more before it starts
anything.
"""

from __future__ import annotations

from typing import Final

# This is for all dates of a run together, because the driver holds their listings and ledgers in memory at the same
# time.
MOST_IMAGES_A_RUN: Final = 10_000_000
# This is more than ten years. A longer range is a typing mistake.
MOST_DATES_A_RUN: Final = 4_000

# The driver's Python needs a fixed amount of memory, and more for each image of the run's dates. To commit one late
# image of a date of a million, it took 1.4 GB in all (`python -m benchmarks --only scale`).
DRIVER_BASE_BYTES: Final = 1_000_000_000
DRIVER_BYTES_AN_IMAGE: Final = 1_400
# One Python worker may take this much memory. There is one for each core of an executor.
PYTHON_WORKER_BYTES: Final = 700_000_000
