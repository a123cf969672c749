"""The GPT-3 paper's figures as printed: Table 2.1, Table D.1, appendix B, and notes where they contradict each other.

Source of everything here that names no other: Brown et al. 2020, arXiv 2005.14165. The shapes that can be built, with
the two impossible rows of Table 2.1 mended, are in `presets`; this file keeps what is printed, so that both can be shown
side by side and tested against each other. Torch-free.
"""

from dataclasses import dataclass


TOTAL_TOKENS = 300e9  # Tables 2.1 and D.1: all eight sizes
DECAY_TOKENS = 260e9  # appendix B: "cosine decay ... over 260 billion tokens", down to a tenth, then level
WARMUP_TOKENS = 375e6  # appendix B: "linear LR warmup over the first 375 million tokens"
RAMP_FROM_TOKENS = 32_000  # appendix B: the batch grows linearly from 32k tokens to its full size ...
RAMP_OVER_TOKENS = (4e9, 12e9)  # ... over the first 4 to 12 billion tokens, by size; which size has which is not said
FLOPS_PER_PARAMETER_AND_TOKEN = 6  # appendix D: 2 forward, twice that backward; attention is left out
PF_DAY = 1e15 * 24 * 60 * 60  # floating-point operations of one petaflop/s-day, 8.64e19 (appendix D)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One size as the paper prints it.

    Attributes:
        name: Table 2.1's.
        n_layers, d_model, n_heads, d_head, batch_tokens, learning_rate: Table 2.1, impossible values included.
        parameters: Table D.1, rounded there to three or four digits.
        flops, pf_days: Table D.1, "total train compute", three digits.
        notes: what of it cannot be, and what is taken instead.
    """

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    batch_tokens: int
    learning_rate: float
    parameters: int
    flops: float
    pf_days: float
    notes: tuple[str, ...] = ()


PUBLISHED: dict[str, Published] = {
    "gpt3-125m": Published(
        name="GPT-3 Small", n_layers=12, d_model=768, n_heads=12, d_head=64, batch_tokens=500_000, learning_rate=6.0e-4,
        parameters=125_000_000, flops=2.25e20, pf_days=2.60,
    ),
    "gpt3-350m": Published(
        name="GPT-3 Medium", n_layers=24, d_model=1024, n_heads=16, d_head=64, batch_tokens=500_000, learning_rate=3.0e-4,
        parameters=356_000_000, flops=6.41e20, pf_days=7.42,
    ),
    "gpt3-760m": Published(
        name="GPT-3 Large", n_layers=24, d_model=1536, n_heads=16, d_head=96, batch_tokens=500_000, learning_rate=2.5e-4,
        parameters=760_000_000, flops=1.37e21, pf_days=15.8,
    ),
    "gpt3-1.3b": Published(
        name="GPT-3 XL", n_layers=24, d_model=2048, n_heads=24, d_head=128, batch_tokens=1_000_000, learning_rate=2.0e-4,
        parameters=1_320_000_000, flops=2.38e21, pf_days=27.5,
        notes=(
            "Table 2.1 prints 24 heads of 128 at width 2048, but 24 x 128 is 3072. Attention 3072 wide would make 1,517M "
            "parameters; Table D.1 says 1,320M. 16 heads of 128 are 2048 wide, and that is taken here.",
        ),
    ),
    "gpt3-2.7b": Published(
        name="GPT-3 2.7B", n_layers=32, d_model=2560, n_heads=32, d_head=80, batch_tokens=1_000_000, learning_rate=1.6e-4,
        parameters=2_650_000_000, flops=4.77e21, pf_days=55.2,
    ),
    "gpt3-6.7b": Published(
        name="GPT-3 6.7B", n_layers=32, d_model=4096, n_heads=32, d_head=128, batch_tokens=2_000_000, learning_rate=1.2e-4,
        parameters=6_660_000_000, flops=1.20e22, pf_days=139,
    ),
    "gpt3-13b": Published(
        name="GPT-3 13B", n_layers=40, d_model=5140, n_heads=40, d_head=128, batch_tokens=2_000_000, learning_rate=1.0e-4,
        parameters=12_850_000_000, flops=2.31e22, pf_days=268,
        notes=(
            "Table 2.1 prints width 5140, but 40 heads of 128 are 5120 wide. Width 5140 would make 12,953M parameters; "
            "5120 makes 12,853M, which is Table D.1's 12,850M, and is taken here.",
        ),
    ),
    "gpt3-175b": Published(
        name="GPT-3 175B", n_layers=96, d_model=12288, n_heads=96, d_head=128, batch_tokens=3_200_000, learning_rate=0.6e-4,
        parameters=174_600_000_000, flops=3.14e23, pf_days=3640,
        notes=(
            "The output matrix is the token matrix (tied): with one of its own the total would be 175,222M; Table D.1 says "
            "174,600M, and 174,604M is what the tied shape makes.",
        ),
    ),
}  # fmt: skip
