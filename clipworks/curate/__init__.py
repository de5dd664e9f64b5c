"""From a pool of image-text pairs to curated shards: filters, deduplication, subsets, repacking."""
