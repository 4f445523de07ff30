# Channel permutation and sign flip of the feature maps at the output of every stage.
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
custom_hooks = [dict(type='KeyGuardHook')]
feature_encryption = dict(cipher=[dict(type='FeatureShuffle'), dict(type='FeatureSign')], stages='all')
