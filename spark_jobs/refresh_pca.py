"""Step 2: refreshes the PCA from moments and projects what is not projected yet. See fruit_features/refresh.py."""

from __future__ import annotations

import argparse

from fruit_contract import lake, release
from fruit_features import object_store
from fruit_features.refresh import RefreshRequest, refresh_pca
from fruit_features.refresh_policy import RefreshPolicy
from fruit_features.spark_session import start_session


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie above 0 and not above 1, for example 0.95")
    return value


def parse_request(argv: list[str] | None = None) -> RefreshRequest:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake-bucket", required=True)
    parser.add_argument("--release", required=True, help="the code release whose embedder names the features to use")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--target-variance", type=_share, default=0.95, help="the share of the variance to keep (default 0.95)")
    parser.add_argument("--policy", type=RefreshPolicy, choices=list(RefreshPolicy), default=RefreshPolicy.ALWAYS)
    arguments = parser.parse_args(argv)
    return RefreshRequest(
        bucket=arguments.lake_bucket,
        release_id=arguments.release,
        run_id=arguments.run_id,
        policy=arguments.policy,
        target_variance=arguments.target_variance,
    )


def main() -> None:
    request = parse_request()
    spark = start_session(release.REFRESH_PCA_STEP)
    try:
        summary = refresh_pca(spark, request)
        object_store.write_json(request.bucket, lake.step_summary_key(request.run_id, release.REFRESH_PCA_STEP), summary)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
