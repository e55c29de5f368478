"""Measures dates of very many images, with an engine made of digests."""
