# Format-preserving (FFX), blocks of 2 x 2 pixels.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
custom_hooks = [dict(type='KeyGuardHook')]
protection = dict(type='KeyedSegDataPreProcessor', cipher=dict(type='FFX', block_size=2))
