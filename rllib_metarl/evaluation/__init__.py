"""Evaluation of checkpoints: protocols that speak of meta-episodes and beliefs, not of PPO."""
