"""BridgeTower, in Hugging Face's layout or its own: the text tower, a RoBERTa."""

from fiber_mmdet.checkpoints.names import FILE_HAS_NONE, roberta_rules

from .donor import BUFFERS, Donor

MODEL = r'(bridgetower\.)?'

BRIDGETOWER = Donor(
    name='BridgeTower',
    rules=(
        *roberta_rules('text_model.'),
        *roberta_rules('bridgetower.text_model.'),
        *roberta_rules('text_transformer.'),
    ),
    unused={
        **BUFFERS,
        MODEL + r'(text_model|text_transformer)\.pooler\..*': 'sentence head',
        MODEL + r'(vision_model|vit_model)\..*': 'a ViT, which FIBER does not have',
        MODEL + r'cross_modal_(text|image)_.*': 'co-attention, which FIBER does not have',
        MODEL + r'token_type_embeddings\.weight': 'of the co-attention',
        r'(mlm_score|itm_score|vqa_classifier|nlvr2_classifier|snli_classifier|rank_output)\..*': (
            'reads the output of the co-attention'
        ),
        r'itc_(text|image|cross_modal)_head\..*|logit_scale': 'of a contrast with a ViT',
    },
    parts=('text',),
    lacks=FILE_HAS_NONE,
)
