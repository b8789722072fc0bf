# Sharding for a model that does not fit one device, beside any training config:
#   _base_ = ['../coco/fiber_swin-b_16xb2-24e_coco.py', '../_base_/schedules/fsdp.py']
#   custom_hooks = []                       # no average: it would be a second, unsharded model
#   optim_wrapper = dict(use_fsdp=True)     # losses scaled over all shards
#   torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch
# Each block of the two towers is a unit; the rest of the model is one more.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='AnyDeviceFSDP', auto_wrap_policy='tower_blocks', use_orig_params=True),
    # one ordinary checkpoint, written by the first process
    state_dict_cfg='full')
