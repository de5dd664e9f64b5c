"""Web pages to pairs of picture and text, and to the pictures themselves. Knows nothing of models."""
