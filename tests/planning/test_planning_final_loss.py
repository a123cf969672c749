"""The end loss that a run is told of: published constants, runs that were measured, and words that say what it is not."""

from math import log

import pytest

from pellucid.planning.final_loss import HOFFMANN, OURS, FinalLossPrediction, compact, predict_final_loss


# (parameters, tokens, bits a byte measured on seven held-out books): docs/log.md, and the embedded model's card.
MEASURED = [
    (544_256, 200_704, 2.886), (544_256, 401_408, 2.601), (544_256, 800_768, 2.281), (544_256, 2_400_256, 2.030),
    (2_222_208, 200_704, 2.762), (2_222_208, 401_408, 2.558), (2_222_208, 802_816, 2.288), (2_222_208, 1_601_536, 2.112),
    (5_918_720, 24_002_560, 1.612),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "tokens", "bits"), MEASURED)
def test_our_law_is_near_every_run_it_was_fitted_to(parameters: int, tokens: int, bits: float) -> None:
    found = predict_final_loss(parameters, tokens, 10 * tokens)
    assert found and found.law is OURS and found.within
    assert found.bits_per_byte == pytest.approx(bits, abs=0.06)


def test_the_published_law_has_its_exponents_and_its_unit() -> None:
    # Chinchilla: 70B parameters, 1.4T tokens. Their equation 10, worked out by hand.
    assert HOFFMANN.loss(70e9, 1.4e12) == pytest.approx(1.69 + 406.4 / 4873.4 + 410.7 / 2513.3, rel=1e-3)
    found = predict_final_loss(70_000_000_000, 1_400_000_000_000, 1_400_000_000_000)
    assert found and found.law is HOFFMANN and not found.within  # larger than what they fitted to
    assert found.bits_per_byte == pytest.approx(HOFFMANN.loss(70e9, 1.4e12) / log(2) / 4.19)
    assert (OURS.alpha, OURS.beta) == (HOFFMANN.alpha, HOFFMANN.beta)


def test_more_of_either_is_never_predicted_to_end_higher() -> None:
    for law in (OURS, HOFFMANN):
        assert law.loss(1e6, 1e6) > law.loss(2e6, 1e6) > law.loss(2e6, 2e6) > law.constant


def said(parameters: int, tokens: int, text_tokens: int) -> str:
    """The sentence of a run's prediction."""
    found = predict_final_loss(parameters, tokens, text_tokens)
    assert found
    return found.as_sentence()


def test_words_say_what_lies_outside_and_what_is_read_again() -> None:
    assert said(2_000_000, 1_000_000, 2_000_000) == OURS.source
    assert said(2_000_000, 1_000_000, 990_000) == OURS.source, "once and a little"
    assert "read 4.0 times ends higher" in said(2_000_000, 1_000_000, 250_000)
    assert "500k to 6M parameters, 200k to 25M tokens; this run lies outside" in said(124_000_000, 1_000_000, 1_000_000)
    assert compact((70e6, 16e9)) == "70M to 16B"
    assert FinalLossPrediction(bits_per_byte=1.5, law=OURS, within=True, epochs=0.5).to_dict() == {
        "bits_per_byte": 1.5, "law": OURS.source, "within": True, "times_read": 0.5,
    }  # fmt: skip


def test_a_run_with_another_optimizer_is_outside_of_every_law() -> None:
    adamw, muon = (predict_final_loss(2_000_000, 1_000_000, 2_000_000, name) for name in ("adamw", "muon"))
    assert adamw and muon and adamw.in_range and not muon.in_range
    assert muon.as_sentence() == f"{OURS.source}; of runs with adamw, not muon"


def test_nothing_is_said_of_a_handful_of_tokens() -> None:
    assert predict_final_loss(2_000_000, 19_999, 1_000_000) is None
    assert predict_final_loss(2_000_000, 20_000, 1_000_000) is not None
