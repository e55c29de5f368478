"""Gathers what the lake has of one ingest date: its files, its ledger, its listing, and what becomes of each image."""
