"""Does the features step: plans dates, computes their new images and commits the results."""
