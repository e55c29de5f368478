"""The lake as Airflow reads and writes it."""
