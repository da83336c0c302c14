"""What a compressed matrix can do: multiply, be factorized, be summed at new points, be saved."""
