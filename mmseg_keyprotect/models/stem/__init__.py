"""The block stem: the first convolution of a backbone on blocks of pixels, which absorbs the key."""
