"""Holds what the Spark steps share: decoding, the embedder's engines, moments, PCA, and the tables they read and write.

It ships in the release's library zip, and runs on the driver and on every worker.
"""
