"""Vectors to index to hits: build an index from pictures, keep it, ask it."""
