"""Metadata of a spare that need not be in use."""
