"""What Airflow and the cluster must agree on: the lake's prefixes, its tables' columns, statuses and words.

Standard library only. Imported by both sides and shipped inside the jobs' zip, so the truth stands once.
"""
