"""Serves S3 over a plain folder: a bucket is a folder, an object a file.

A PUT to S3 is all or nothing, and what relies on that must be tested against a server that keeps the promise. `rclone
serve s3` (1.75) does not: it deletes the old file before it renames the new one into its place, and answers with the
size of one version of an object and the content of another.
"""
