"""Turns images into features: fetches them, decodes them and runs the network."""
