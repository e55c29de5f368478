"""Does the PCA step: decides when to fit, fits, keeps versions, and projects."""
