"""The page that tells how an alignment went."""
