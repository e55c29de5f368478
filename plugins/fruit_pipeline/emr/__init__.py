"""Clusters and steps: what is asked of EMR, and what it says."""
