# Pixel shuffling (SHF), blocks of 2 x 2 pixels. Weak: an attacker can try every key. For the paper's tables.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
custom_hooks = [dict(type='KeyGuardHook')]
protection = dict(type='KeyedSegDataPreProcessor', cipher=dict(type='Shuffle', block_size=2, allow_weak=True))
