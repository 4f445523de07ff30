"""A public backbone that stays as everybody has it, and a private part that reads its feature maps."""
