"""Holds what Airflow and the cluster must agree on: the lake's prefixes, its tables' columns, statuses and words.

It needs nothing but the standard library. Both sides import it, and the jobs' zip brings it along, so each truth stands
once.
"""
