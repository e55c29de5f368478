"""Holds the pipeline's Airflow triggers, which wait for hours without a worker slot."""
