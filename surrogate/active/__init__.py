"""Active design: what is measured next, by what it narrows per example, and when to stop."""
