"""The critical batch size against the target, as the loss falls."""
