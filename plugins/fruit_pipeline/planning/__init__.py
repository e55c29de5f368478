"""How is a run planned: which dates, which images, how large a cluster, at what cost?"""
