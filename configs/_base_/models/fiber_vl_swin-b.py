# FIBER-B with image-text heads, for images of 384 pixels: Swin-B and RoBERTa-base, 6 fused
# layers. The window is a thirty-second of the image's side (18 at 576 pixels). The heads are the
# config's.
model = dict(
    type='FIBERForVL',
    tokenizer=dict(name_or_path='roberta-base', max_tokens=50),
    data_preprocessor=dict(
        type='ImageTextPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='FIBERBackbone',
        image=dict(
            embed_dim=128,
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
            window=12,
            always_shift=False,
            drop_path=0.1,
        ),
        text=dict(num_layers=12, dim=768, num_heads=12, ffn_dim=3072),
        num_fused=6,
        i2t_norm=True,
        last_text_norm=False,
        out_indices=(),
    ),
    dim=768,
    heads=dict(),
)
