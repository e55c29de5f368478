"""Airflow operators of the pipeline. They orchestrate; the thinking is in the modules beside this package."""
