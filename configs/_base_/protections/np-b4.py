# Negative/positive (NP), blocks of 4 x 4 pixels. Weak: an attacker can try every key. For the paper's tables.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
custom_hooks = [dict(type='KeyGuardHook')]
protection = dict(type='KeyedSegDataPreProcessor', cipher=dict(type='NegativePositive', block_size=4, allow_weak=True))
