"""An Airflow over its REST API."""
