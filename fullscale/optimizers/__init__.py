"""Update rules: one method a file, one definition for trainer, shards and populations."""
