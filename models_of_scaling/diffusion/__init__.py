"""How far the weights have moved, ||w_t - w_0||, and which law of diffusion that follows."""
