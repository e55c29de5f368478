"""Other engines of tables, Daft and Ray Data, that do what the features step does: the same images, network and files,
side by side.
"""
