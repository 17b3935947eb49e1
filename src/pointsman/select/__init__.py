"""Selecting: which passages the reader sees, in which order."""
