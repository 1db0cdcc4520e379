"""From what a user wrote to experiments that are known to be runnable."""
