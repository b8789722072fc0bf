# Sharding, for a model that does not fit on one device. Add it to any training config:
#   _base_ = ['../coco/fiber_swin-b_16xb2-24e_coco.py', '../_base_/schedules/fsdp.py']
#   custom_hooks = []                       # no averaged weights: a second, unsharded model
#   optim_wrapper = dict(use_fsdp=True)     # losses scaled over all shards; no clip_grad
#   torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch
# Each block of the two towers is a unit; the rest of the model is one more.
runner_type = 'ResumableFlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    model_wrapper=dict(type='AnyDeviceFSDP', auto_wrap_policy='tower_blocks', use_orig_params=True),
    # one ordinary checkpoint, written by the first process ('full' would copy it to the CPU first,
    # which crashes if the weights are there already)
    state_dict_cfg=dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(type='FullStateDictConfig', rank0_only=True),
        optim_state_dict_config=dict(
            type='FullOptimStateDictConfig', rank0_only=True, offload_to_cpu=False
        ),
    ),
)
