"""Symmetric linear operators: their base class, wrappers, and sparse and packed storage."""
