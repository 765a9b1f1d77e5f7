"""The step-by-step comparison: what each ingredient of a recipe gains, tuned anew at each rung."""
