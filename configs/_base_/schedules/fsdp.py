# Sharding, for a model that does not fit on one device. Add it to any training config:
#   _base_ = ['../pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365.py',
#             '../_base_/schedules/fsdp.py']
#   torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch
# Each block of the two towers is a unit; the rest of the model is one more. Everything else is as
# in the config: clipping, precision, averaged weights, accumulation, checkpoints.
runner_type = 'ResumableFlexibleRunner'
strategy = dict(type='ResumableFSDPStrategy')
