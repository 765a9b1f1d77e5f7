"""Lightning callbacks: what watches a run, stops it and records it."""
