"""Starts and stops the local cloud with an Airflow of its own."""
