"""The Newton-CG optimizer."""
