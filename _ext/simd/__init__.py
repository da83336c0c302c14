"""Loops that are compiled once per instruction set; one of them is chosen at run time."""
