"""Illustrative revenue of invented entities."""
