"""Airflow triggers of the pipeline: what waits for hours without a worker slot."""
