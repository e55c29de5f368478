"""Compares the features step with other engines of tables, Daft and Ray Data, that do the same: the same images,
network and files, side by side.
"""
