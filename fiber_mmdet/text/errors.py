"""The one error of the text side."""


class PromptError(ValueError):
    """A prompt, span or tokenizer that cannot be used as given.

    The message names the field or phrase at fault and says how to mend it.
    """
