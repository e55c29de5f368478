"""The features step against its ceiling and the notebook way."""
