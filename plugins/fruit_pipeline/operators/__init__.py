"""Holds the pipeline's Airflow operators. They orchestrate; the modules beside this package decide."""
