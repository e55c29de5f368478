"""Reads and writes the lake for Airflow's side."""
