"""Measurements that write tables: each one file, each run again by one command."""
