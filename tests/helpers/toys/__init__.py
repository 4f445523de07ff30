"""A cipher, a backbone and an attack as users add them: one file and one registration each."""
