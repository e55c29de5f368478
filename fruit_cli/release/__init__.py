"""Makes what `make publish` puts under `code/`: jobs, library, wheels, embedder."""
