"""Policies, values and discriminators of environments."""
