"""What encryption, block stems and sealing cost."""
