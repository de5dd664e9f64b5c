"""From pairs to curated shards: metadata, matching, balancing, filters, duplicates."""
