"""Plans a run: which dates, which images, how large a cluster, at what cost."""
