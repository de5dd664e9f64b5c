"""Shards to checkpoint: the loop, and the maths it is made of."""
