# Pixel shuffling (SHF), blocks of 8 x 8 pixels.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
custom_hooks = [dict(type='KeyGuardHook')]
protection = dict(type='KeyedSegDataPreProcessor', cipher=dict(type='Shuffle', block_size=8))
