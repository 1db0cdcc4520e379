"""Networks: belief encoder, decoders, session prior, policy and value heads. Plain torch.nn."""
