# 700 iterations from scratch: minutes on a CPU
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001, betas=(0.9, 0.999), weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=70),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=70, end=700, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=700, val_interval=700)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=700, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
randomness = dict(seed=0)
