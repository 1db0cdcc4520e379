"""What a person sees of evaluations and ladders."""
