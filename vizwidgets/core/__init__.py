"""The engine: torch, numpy and PIL only."""
