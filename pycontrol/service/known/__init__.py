"""Known damage: lists of bad blocks in and out, and filling what was lost from a copy."""
