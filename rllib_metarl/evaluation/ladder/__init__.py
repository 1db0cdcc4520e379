"""The debug ladder: what agents that know less and less say about an env."""
