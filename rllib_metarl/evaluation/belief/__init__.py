"""What a belief is worth: decoded, held against the exact filter, calibrated."""
