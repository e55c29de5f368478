"""The PCA step: when to fit, fitting, versions, projections."""
