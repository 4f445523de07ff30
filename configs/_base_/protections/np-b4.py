# Negative/positive (NP), blocks of 4 x 4 pixels. Weak: its keys can be tried out; here for the paper's tables.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
custom_hooks = [dict(type='KeyGuardHook')]
protection = dict(type='KeyedSegDataPreProcessor', cipher=dict(type='NegativePositive', block_size=4, allow_weak=True))
