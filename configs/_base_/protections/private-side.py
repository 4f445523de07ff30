# A public backbone that is never trained, and a private side network that reads its feature maps.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
private_side = dict(type='SideNetwork', width=0.25)
