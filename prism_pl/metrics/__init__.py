"""What is measured and how it is averaged: means over unequal parts, intervals, distances of distributions, seconds."""
