"""Recipes: one file, one published claim, and the command that lists, shows and compares them."""
