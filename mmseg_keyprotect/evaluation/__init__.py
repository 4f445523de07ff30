"""What the protection bought and what it cost."""
