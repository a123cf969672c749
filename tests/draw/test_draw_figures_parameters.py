"""draw/figures: `parameters`: every matrix to scale, numbers that add up, and colours that stand for the record's tiles."""

from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from parameter_records import trained
from pictures import assert_described, assert_legible, assert_true

from pellucid.draw import Film
from pellucid.draw.backends.svg import still
from pellucid.draw.components.ruler import PUBLISHED, published
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig


@pytest.mark.parametrize(
    "shape",
    [{}, {"blocks": 1, "moments": 1}, {"blocks": 6, "width": 256, "vocab_size": 4096, "n_ctx": 512},
     {"blocks": 12, "moments": 15}, {"blocks": 96, "moments": 4, "vocab_size": 50257},
     {"d_ff": 96, "blocks": 3, "n_ctx": 2048}],
)  # fmt: skip
def test_every_shape_gives_a_legible_film(shape: dict[str, Any]) -> None:
    record = trained(**shape)
    for width, least in ((360, 11), (960, 12)):
        film = record.figure("parameters", width=width)
        assert_legible(film, least=least)
        assert_described(film)
        assert_true(film, record)
        assert len(film.frames(48)) <= 20
        inside = [p for p in film.at(0) if p["kind"] == "image"]
        assert all(p["x"] >= 0 and p["y"] >= 0 and p["x"] + p["w"] <= film.width for p in inside)
        assert max(p["y"] + p["h"] for p in inside) < film.height - 40


def pictures(film: Film, t: float) -> list[dict[str, Any]]:
    return [p for p in film.at(t) if p["kind"] == "image" and p["label"]]


def test_areas_are_to_scale_within_blocks_and_within_embeddings() -> None:
    record = trained()
    sizes = dict(GPTConfig.from_dict(record.provenance.config).matrices())
    scales: dict[str, set[float]] = {}
    for p in pictures(record.figure("parameters"), 0):
        rows, columns = sizes[p["label"].split(":")[0]]
        assert p["w"] / p["h"] == pytest.approx(max(rows, columns) / min(rows, columns), rel=0.01)
        kind = "block" if p["label"].startswith("h.") else "embedding"
        scales.setdefault(kind, set()).add(round(p["h"] / min(rows, columns), 2))
    assert len(scales["embedding"]) == 1 and len(scales["block"]) == 2  # block 0 alone, and all blocks


def test_every_matrix_is_there_and_shows_the_tiles_of_each_recorded_step() -> None:
    record = trained()
    film = record.figure("parameters")
    names = record["training/matrices"]
    assert {p["label"].split(":")[0] for p in pictures(film, 0)} == set(names)
    for t, moment in ((0.0, 0), (film.duration, -1)):
        seen = next(p for p in pictures(film, t) if p["label"].startswith("h.1.mlp.c_proj"))
        tiles = record["training/thumbnails/h.1.mlp.c_proj"][moment].T  # its longer side lies across
        codes = np.frombuffer(film.matrices[seen["matrix"]].data, np.uint8).astype(int).reshape(tiles.shape) - 128
        inner = np.abs(codes) < 127
        most = np.abs(tiles[inner]).max() / np.abs(codes[inner]).max()
        assert np.allclose(codes[inner] * most, tiles[inner], atol=1.1 * most)
        assert np.all(np.sign(codes) * np.sign(tiles) >= 0)


def test_the_counts_add_up_and_are_those_of_the_config() -> None:
    record = trained(blocks=3)
    config = GPTConfig.from_dict(record.provenance.config)
    shown = [p["string"] for p in record.figure("parameters").at(0) if p["kind"] == "text"]
    for _, (rows, columns) in config.matrices():
        assert f"{rows * columns:,}" in shown
    assert f"{config.parameters():,}" in shown and f"3 × {config.block_parameters():,}" in shown


def test_the_ruler_has_the_published_sizes_in_their_places() -> None:
    film = trained().figure("parameters")
    drawn = film.at(film.duration)
    dots = {p["label"].split(":")[0]: p for p in drawn if p["kind"] == "path" and p["label"].startswith("gpt3-")}
    assert tuple(dots) == PUBLISHED
    assert [round(published(name) / 1e6) for name in ("gpt3-125m", "gpt3-175b")] == [125, 174604]  # Table D.1: 125, 174,600
    x = {name: dot["d"][0][1] for name, dot in dots.items()}
    logs = {name: np.log10(published(name)) for name in PUBLISHED}
    slope = (x["gpt3-175b"] - x["gpt3-125m"]) / (logs["gpt3-175b"] - logs["gpt3-125m"])
    for name in PUBLISHED:
        assert x[name] == pytest.approx(x["gpt3-125m"] + slope * (logs[name] - logs["gpt3-125m"]), abs=0.05)
    assert all(dot["shows"]["truth"] == "given" for dot in dots.values())


def test_the_frames_turn_as_far_as_the_loss_has_come() -> None:
    film = trained().figure("parameters")

    def share(t: float) -> float:
        return max((p["opacity"] for p in film.at(t) if p["kind"] == "rect" and isinstance(p["fill"], dict)), default=0.0)

    assert share(0) == 0 and share(film.duration) == 1
    middle = [share(t) for t, _ in film.changes() if t < film.duration]
    assert middle == sorted(middle) and len(set(middle)) == 5


def test_a_record_without_tiles_is_refused_with_the_way_to_make_one() -> None:
    with pytest.raises(PellucidError, match=r"training/thumbnails/wte is not in this record.*pellucid train"):
        trained(leave_out="thumbnails").figure("parameters")


def test_a_model_with_other_matrices_is_refused_and_one_without_a_last_norm_adds_up() -> None:
    with pytest.raises(PellucidError, match=r"this model has others, as h\.0\.attn\.compressor\.k_weight"):
        trained(pattern=("compressed(3,3)", "dense")).figure("parameters")
    with pytest.raises(PellucidError, match="this model has others, as project_in"):
        trained(d_embed=32).figure("parameters")
    relative = trained(final_norm=False, qkv_bias=False)
    assert "last LayerNorm" not in relative.figure("parameters").alt


GOLDEN = {960: "3db49d1e207ed047", 360: "5e8a7166768f57fc"}


@pytest.mark.parametrize("width", GOLDEN)
def test_the_pictures_are_the_golden_ones(width: int) -> None:
    film = trained().figure("parameters", width=width)
    drawn = "".join(still(film, t) for t in film.stills())
    assert sha256(drawn.encode("utf-8")).hexdigest()[:16] == GOLDEN[width]
