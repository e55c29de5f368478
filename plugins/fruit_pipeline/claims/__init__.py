"""Says which run may work on which date, or on the PCA, and how long others wait."""
