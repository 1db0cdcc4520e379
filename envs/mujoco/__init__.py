"""Continuous control on MuJoCo, with hidden contexts. Importing it does not load MuJoCo."""
