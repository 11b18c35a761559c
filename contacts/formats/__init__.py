"""Suppression lists as files: our own shapes and those of the services people come from or go to."""
