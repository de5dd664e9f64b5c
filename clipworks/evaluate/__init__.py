"""Checkpoints x tasks -> results: zero-shot, retrieval, groups, probes, with intervals and reports."""
