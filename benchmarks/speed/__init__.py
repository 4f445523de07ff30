"""Time and memory of encryption, block stems and sealing."""
