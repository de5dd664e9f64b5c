"""Pairs and pictures to curated shards: matching, balancing, filters, duplicates, subsets."""
