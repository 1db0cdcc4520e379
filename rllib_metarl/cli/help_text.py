"""What help texts share."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Commands below a help text, a line each."""
    return "\b\n" + "\n".join(("For example:", *(f"  {line}" for line in lines)))
