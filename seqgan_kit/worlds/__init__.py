"""Data that the kit generates itself, so that the right answers are known."""
