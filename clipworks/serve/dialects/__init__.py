"""Other families' requests and answers, one file per family: read, embed with `embeddings.py`, write."""
