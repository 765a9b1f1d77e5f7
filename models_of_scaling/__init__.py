"""Models of how training steps depend on batch size; importable without torch."""
