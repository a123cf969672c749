"""The defaults of OpenAI's fine-tuning service for GPT-3 (its API of 2021 to 2023), which follow from the number of examples.

Source: the reference of `POST /v1/fine-tunes` (openai-openapi, 2023): `n_epochs` 4, `batch_size` about 0.2 % of the examples,
at most 256, `learning_rate_multiplier` 0.05, 0.1 or 0.2 "depending on final batch_size", `prompt_loss_weight` 0.01. It kept the
last model. Which batch sizes have which multiplier was never published: the limits below are a choice.
"""

EPOCHS = 4
BATCH_SHARE, MAX_BATCH = 0.002, 256
MULTIPLIERS = ((16, 0.05), (128, 0.1))  # choice: (limit, multiplier of smaller batches)
LARGEST_MULTIPLIER = 0.2
PROMPT_LOSS_WEIGHT = 0.01


def batch_of(examples: int) -> int:
    """Examples in a step, for so many training examples."""
    return max(1, min(MAX_BATCH, round(BATCH_SHARE * examples)))


def multiplier_of(batch: int) -> float:
    """The peak learning rate as a share of the rate for training from random weights."""
    return next((multiplier for below, multiplier in MULTIPLIERS if batch < below), LARGEST_MULTIPLIER)
