"""Runs S3 and EMR on one machine under a supervisor, so that the product needs no AWS account."""
