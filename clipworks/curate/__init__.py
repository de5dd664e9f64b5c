"""Pairs and pictures to curated shards: filters, matching, balancing, duplicates."""
