"""The HTTP service: OpenAI-shaped routes and one page over engines and a gallery that it is given."""
