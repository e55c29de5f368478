"""Talks to an Airflow over its REST API."""
