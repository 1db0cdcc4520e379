"""The maths: pure, shape-checked functions on torch tensors, one concept a module.

Shapes in this package: ``B`` meta-episodes, ``T`` steps, ``D`` features; batches are ``[B, T, D]``
and right-padded (``valid [B, T]`` is true on a prefix of each row); pairs of an encoding and a
decoding time are ``[B, T_encode, T_decode]``. Gaussians are diagonal, given by mean and
log-variance.
"""
