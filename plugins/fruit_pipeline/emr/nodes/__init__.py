"""Says what the nodes of a cluster are, how large Spark is on them, and what they start with."""
