"""`get_or_set`: a value, or what a factory makes of it, once (docs/get-or-set.md)."""
