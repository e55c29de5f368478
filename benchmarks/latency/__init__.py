"""Measures steps against an S3 that answers late."""
