"""What is measured: `make bench` runs everything here and writes `results.md`."""
