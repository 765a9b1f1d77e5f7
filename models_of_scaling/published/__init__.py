"""Measurements that others published, as files with their provenance, and what reads them."""
