"""S3 and EMR on one machine, and the supervisor of their processes: the embedded default that needs no AWS account."""
