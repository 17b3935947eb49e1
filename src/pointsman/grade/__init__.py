"""Grading: how relevant each passage is."""
