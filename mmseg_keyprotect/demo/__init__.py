"""The demonstration: drawn scenes, and a small model that is protected, trained and evaluated on them."""
