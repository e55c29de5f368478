"""Airflow's side of the pipeline: pure planning modules, thin operators, the report."""
