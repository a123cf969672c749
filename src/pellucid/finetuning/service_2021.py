"""The defaults of OpenAI's fine-tuning service for GPT-3 (its API of 2021 to 2023), which follow from the number of examples.

Source: the reference of `POST /v1/fine-tunes` (openai-openapi, 2023): `n_epochs` 4, `batch_size` about 0.2 % of the examples,
at most 256, `learning_rate_multiplier` 0.05, 0.1 or 0.2 "depending on final batch_size", `prompt_loss_weight` 0.01. It ended
with the last model. Which batch sizes have which multiplier was never said: the borders below are a choice.
"""

EPOCHS = 4
BATCH_SHARE, MAX_BATCH = 0.002, 256
MULTIPLIERS = ((16, 0.05), (128, 0.1))  # choice: batches smaller than the first number have the second
LARGEST_MULTIPLIER = 0.2
PROMPT_LOSS_WEIGHT = 0.01


def batch_of(examples: int) -> int:
    """Examples in a step."""
    return max(1, min(MAX_BATCH, round(BATCH_SHARE * examples)))


def multiplier_of(batch: int) -> float:
    """The peak learning rate as a share of the rate at which the model was trained from nothing."""
    return next((multiplier for below, multiplier in MULTIPLIERS if batch < below), LARGEST_MULTIPLIER)
