"""What a step says of itself is read from whichever release wrote it, up to this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_contract.lake import step_summary_key
from fruit_contract.summaries import SUMMARY_SCHEMA_VERSION
from fruit_pipeline.errors import LaterSchemaError
from fruit_pipeline.lake.summaries import read_extraction_summary, read_refresh_summary
from tests.plugins.sample_lake import RUN_ID

if TYPE_CHECKING:
    from tests.plugins.sample_lake import SampleLake


def test_reads_what_an_earlier_release_wrote(sample_lake: SampleLake) -> None:
    sample_lake.lake.write_json(step_summary_key(RUN_ID, "extract_features"), {"run_id": RUN_ID, "images_computed": 7})
    summary = read_extraction_summary(sample_lake.lake, RUN_ID)
    assert (summary["images_computed"], summary["images_per_second"], summary["by_category"]) == (7, None, {})


def test_says_so_if_a_later_release_wrote_it(sample_lake: SampleLake) -> None:
    later = {"schema_version": SUMMARY_SCHEMA_VERSION + 1}
    sample_lake.lake.write_json(step_summary_key(RUN_ID, "refresh_pca"), later)
    with pytest.raises(LaterSchemaError, match="refresh_pca of run"):
        read_refresh_summary(sample_lake.lake, RUN_ID)
