"""The compiled core of skhmat: loops over numbers, one file per phase of the algorithm.

Nothing here validates, prints or decides; arrays go in, arrays come out.
"""
