"""From the web to pairs and pictures: the network side of curation."""
