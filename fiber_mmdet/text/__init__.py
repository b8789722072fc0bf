"""Text for FIBER: from what a user types to the tokens a box can match.

Five words are used throughout the project:

- **token**: one id of the vocabulary, counted with those that begin and end a text, ``<s>`` and
  ``</s>``;
- **phrase**: the words that one label stands for, as the caller wrote them;
- **span**: characters ``[begin, end)`` of a caption that carry a phrase;
- **positive map**: which tokens belong to which label;
- **prompt**: a caption with its phrases and their spans.

Beside them: noun phrases (``noun_phrases``), CIDEr-D (``cider_d``) and the answers of VQA
(``vqa_answers``). Nothing here needs mmdet, but for tokenizers that a config names by their type
and for the names of ``$: coco``; transformers and nltk load on first use only.
"""

from .description_files import Description, match_names, parse_generated, read_descriptions
from .descriptions import DescribedNames, describe
from .parsing import noun_phrase_prompt, parse_prompt, prompt_options, prompt_passes
from .phrases import find_phrase, phrase_prompt
from .positive_map import label_tokens, positive_map, span_to_tokens
from .prompts import (
    Prompt,
    PromptError,
    category_prompt,
    chunk_names,
    clean_name,
    has_separators,
    names_that_read_alike,
    span_prompt,
    split_entities,
    whole_prompt,
)
from .tokenizer import (
    PromptTokenizer,
    TokenizedPrompts,
    build_tokenizer,
    tokenizer_class,
)
from .tokenizer_files import hub_answers, load_tokenizer

__all__ = [
    'DescribedNames',
    'Description',
    'Prompt',
    'PromptError',
    'PromptTokenizer',
    'TokenizedPrompts',
    'build_tokenizer',
    'category_prompt',
    'chunk_names',
    'clean_name',
    'describe',
    'find_phrase',
    'has_separators',
    'hub_answers',
    'label_tokens',
    'load_tokenizer',
    'match_names',
    'names_that_read_alike',
    'noun_phrase_prompt',
    'parse_generated',
    'parse_prompt',
    'phrase_prompt',
    'positive_map',
    'prompt_options',
    'prompt_passes',
    'read_descriptions',
    'span_prompt',
    'span_to_tokens',
    'split_entities',
    'tokenizer_class',
    'whole_prompt',
]
