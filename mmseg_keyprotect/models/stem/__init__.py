"""The block stem: the first convolution of a backbone on blocks of pixels, into which a key is absorbed."""
