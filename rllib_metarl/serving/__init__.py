"""Agents outside training: opened from a checkpoint, acting step by step."""
