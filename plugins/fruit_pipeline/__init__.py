"""Holds Airflow's side of the pipeline: planning, thin operators, the report."""
