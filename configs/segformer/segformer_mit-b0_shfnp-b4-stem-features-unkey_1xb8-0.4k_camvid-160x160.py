# Denial training with the un-key attack in the loop.
_base_ = './segformer_mit-b0_shfnp-b4-stem-features-denial_1xb8-0.4k_camvid-160x160.py'
model = dict(denial=dict(un_key=dict(lr=0.01, restart=50)))
