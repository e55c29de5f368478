"""Airflow's side of the pipeline: pure planning modules, thin operators, the report.

The pure modules (settings, ingest_dates, run_plan, cluster_request, steps, checks, pca_checks, run_record, report_page)
import only the standard library, fruit_contract and each other.
"""
