"""The ``rllib`` command: train, evaluate and list, from experiment files or options."""
