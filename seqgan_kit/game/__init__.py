"""The two players, the loops that they alternate in, and users' rewards."""
