"""Generators and discriminators of tokens, and what reads them."""
