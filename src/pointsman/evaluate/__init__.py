"""Measures, significance, calibration, tables, and the files that results are kept in."""
