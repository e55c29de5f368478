"""Compares the PCA step with pyspark.ml."""
