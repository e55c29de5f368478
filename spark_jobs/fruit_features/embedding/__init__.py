"""From an image's bytes to its features: fetching, decoding, the network."""
