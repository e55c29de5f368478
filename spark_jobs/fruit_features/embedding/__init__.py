"""Turns an image's bytes into its features: fetching, decoding, the network."""
