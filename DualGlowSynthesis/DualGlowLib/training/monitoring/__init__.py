"""What a run shows of itself while it goes on: tables, event files, pictures and images."""
