"""Typed settings: models, defaults, loading, checking, reference. One source for all of them: the models."""
