"""Experiment files with tuned settings: ``<algorithm>/<env>.yaml``, shipped as package data."""
