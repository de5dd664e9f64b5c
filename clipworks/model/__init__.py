"""What a CLIP is: config, weights, tokens, pixels and two executors behind one engine."""
