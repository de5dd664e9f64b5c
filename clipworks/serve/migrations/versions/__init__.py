"""One file per version of the tables; a file is never changed after it was released."""
