"""A plan: batch size, nodes, learning rate and length, each with its reason, as a YAML."""
