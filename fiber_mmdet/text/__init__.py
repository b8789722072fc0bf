"""Text for FIBER: from what a user types to the tokens a box can match.

Five words are used throughout the project:

- **token**: one id of the RoBERTa vocabulary, counted with ``<s>``, ``</s>``;
- **phrase**: the words that one label stands for, as the caller wrote them;
- **span**: characters ``[begin, end)`` of a caption that carry a phrase;
- **positive map**: which tokens belong to which label;
- **prompt**: a caption with its phrases and their spans.

Nothing here imports mmdet, and transformers and nltk only load on first use.
The noun-phrase finder itself is ``fiber_mmdet.text.noun_phrases.noun_phrases``.
"""

from .errors import PromptError
from .positive_map import label_tokens, positive_map, span_to_tokens
from .prompts import (
    Prompt,
    category_prompt,
    chunk_names,
    clean_name,
    noun_phrase_prompt,
    parse_prompt,
    prompt_passes,
    span_prompt,
    split_entities,
    whole_prompt,
)
from .tokenizer import (
    PromptTokenizer,
    TokenizedPrompts,
    build_tokenizer,
    hub_answers,
    load_tokenizer,
    tokenizer_class,
)

__all__ = [
    'Prompt',
    'PromptError',
    'PromptTokenizer',
    'TokenizedPrompts',
    'build_tokenizer',
    'category_prompt',
    'chunk_names',
    'clean_name',
    'hub_answers',
    'label_tokens',
    'load_tokenizer',
    'noun_phrase_prompt',
    'parse_prompt',
    'positive_map',
    'prompt_passes',
    'span_prompt',
    'span_to_tokens',
    'split_entities',
    'tokenizer_class',
    'whole_prompt',
]
