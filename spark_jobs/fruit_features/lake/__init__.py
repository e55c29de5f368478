"""The lake: its store, its files, and the commit of a date."""
