"""What a Hessian's spectrum says, from numbers that were measured: density, index, stability."""
