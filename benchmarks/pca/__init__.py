"""The PCA steps against pyspark.ml."""
