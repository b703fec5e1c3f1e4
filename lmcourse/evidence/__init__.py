"""What was measured and what follows: rows, claims, the papers' tables."""
