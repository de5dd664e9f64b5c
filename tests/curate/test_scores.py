"""Scores and features of fetched shards, and what is computed of them, from the tiny CLIP."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_pools import make_pool, unit
from PIL import Image
from tiny_clip import TinyClip

from clipworks.curate.baselines import clip_score
from clipworks.curate.contamination import ContaminationConfig, find_contaminated
from clipworks.curate.faces import blur_faces
from clipworks.curate.filters import run_filter
from clipworks.curate.hashes import perceptual_hash
from clipworks.curate.kept import write_kept
from clipworks.curate.pool import open_pool
from clipworks.curate.scores import ScoreConfig, score_pool
from clipworks.curate.settings import FilterConfig
from clipworks.curate.similarities import SimilarityConfig, neg_clip_loss, norm_sims, score_similarities
from clipworks.curate.subsets import read_subset
from clipworks.curate.uids import UID, hex_of, uids_of
from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.loading import load


def picture(seed: int, quality: int = 90) -> bytes:
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    file = io.BytesIO()
    small.resize((64, 48), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """img2dataset's layout: 12 rows in two shards, of which some have no picture or a damaged one."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        rows = []
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for n in range(6):
                fetched = n != 2
                uid = f"{shard}{n}".ljust(32, "a")
                rows.append(
                    {
                        "uid": uid,
                        "url": f"http://a.example/{shard}/{n}.jpg",
                        "caption": f"caption {n}",
                        "key": f"{shard:05}{n:04}",
                        "status": "success" if fetched else "failed_to_download",
                        "original_width": 640 if fetched else None,
                        "original_height": 480 if fetched else None,
                    }
                )
                image = b"damaged" if n == 4 else picture(10 * shard + n)
                files = {"jpg": image, "txt": b"x", "json": json.dumps({"uid": uid}).encode()}
                for suffix, data in files.items() if fetched else ():
                    member = tarfile.TarInfo(f"{shard:05}{n:04}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05}.parquet")
    return folder


@pytest.mark.slow
def test_scores_are_the_cosines_of_the_model_in_the_rows_of_the_table(
    shards: Path, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    model = str(next(iter(tiny_clip.folders.values())))
    config = ScoreConfig(model=model, precision="f32", batch_size=4)
    manifest = score_pool(open_pool(shards), config, tmp_path / "scores")
    assert manifest["counts"] == {"samples": 10, "scored": 8, "unreadable": 2, "without_picture": 2}
    engine = load(model, precision="f32")
    table = pq.read_table(tmp_path / "scores" / "00001.parquet").to_pydict()
    arrays = np.load(tmp_path / "scores" / "00001.npz")
    good = [0, 1, 3, 5]
    images = engine.embed_images([picture(10 + n) for n in good])
    texts = engine.embed_texts([f"caption {n}" for n in good])
    score = np.array(table["clip_b32_similarity_score"], np.float64)
    assert np.isnan(score[[2, 4]]).all()
    assert score[good] == pytest.approx((images * texts).sum(axis=1), abs=1e-6)
    assert arrays["b32_img"].dtype == np.float16
    assert arrays["b32_img"][good] == pytest.approx(images, abs=1e-3)
    assert arrays["b32_txt"][good] == pytest.approx(texts, abs=1e-3)
    assert not arrays["b32_img"][[2, 4]].any()
    assert table["phash"] == [None if n in (2, 4) else perceptual_hash(picture(10 + n)) for n in range(6)]


def test_filters_read_scores_and_features_from_the_folder_beside(
    shards: Path, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    config = ScoreConfig(model=str(next(iter(tiny_clip.folders.values()))), precision="f32", prefix="l14")
    score_pool(open_pool(shards), config, tmp_path / "scores", workers=1)
    pool = open_pool(shards, scores=[tmp_path / "scores"])
    manifest = run_filter(pool, FilterConfig(keep=clip_score(score="l14", fraction=0.3)), tmp_path / "out")
    assert manifest["counts"]["rows in"] == 10  # failed downloads are passed over
    assert manifest["rows"] == 4  # int(10 * .3) + 1, of which two are not numbers, last in the order
    score_similarities(pool, SimilarityConfig(batch_rows=5, num_batches=2), tmp_path / "more")
    both = open_pool(shards, scores=[tmp_path / "scores", tmp_path / "more"])
    kept = run_filter(both, FilterConfig(keep="top(negclip, 0.5) and phash > 0"), tmp_path / "kept")
    assert 0 < kept["rows"] <= 6


def test_hashes_alone_need_no_model(shards: Path, tmp_path: Path) -> None:
    score_pool(open_pool(shards), ScoreConfig(), tmp_path / "scores")
    assert pq.read_table(tmp_path / "scores" / "00000.parquet").column_names == ["phash"]
    assert not list((tmp_path / "scores").glob("*.npz"))


def test_a_missing_tar_fails_alone(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for path in shards.iterdir():
        if path.name != "00000.tar":
            (tmp_path / "shards" / path.name).write_bytes(path.read_bytes())
    manifest = score_pool(open_pool(tmp_path / "shards"), ScoreConfig(), tmp_path / "scores")
    assert manifest["counts"]["failed_sources"] == 1
    assert manifest["rows"] == 6


GOLDEN_HASHES = {0: "88e49e4ce2ce7d8a", 1: "f2b4626938becc8c", 2: "c5eee10eec964d60", 3: "d1ab212b93b19ac7"}
"""`imagehash.phash` of imagehash 4.3.2, seed -> hash of 50 x 40 random pixels."""


@pytest.mark.parametrize("seed", GOLDEN_HASHES)
def test_the_perceptual_hash_is_that_of_imagehash(seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert f"{perceptual_hash(file.getvalue()):016x}" == GOLDEN_HASHES[seed]


@pytest.mark.parametrize("seed", range(6))
def test_the_same_picture_at_another_quality_is_near_and_another_is_not(seed: int) -> None:
    image = perceptual_hash(picture(seed))
    assert (perceptual_hash(picture(seed, quality=70)) ^ image).bit_count() <= 6
    assert (perceptual_hash(picture(seed + 100)) ^ image).bit_count() > 8


def test_a_damaged_picture_has_no_hash() -> None:
    with pytest.raises(InputError):
        perceptual_hash(b"damaged")


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (8_000, 8_000)])
def test_a_picture_that_would_fill_the_memory_has_no_hash_and_no_blurred_faces(
    width: int, height: int
) -> None:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    with pytest.raises(InputError, match="million"):
        perceptual_hash(file.getvalue())
    with pytest.raises(InputError, match="million"):
        blur_faces(file.getvalue(), [(0, 0, 1, 1)])


def test_only_the_formats_of_the_web_are_opened() -> None:
    with pytest.raises(InputError, match="not a readable picture"):  # Pillow would start Ghostscript
        perceptual_hash(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def test_score_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="prefix is '1x'"):
        ScoreConfig(prefix="1x")
    with pytest.raises(ConfigError, match="Neither a model nor hashes"):
        ScoreConfig(hashes=False)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        ScoreConfig(batch_size=0)
    with pytest.raises(ConfigError, match="precision is 'f8'"):
        ScoreConfig(precision="f8")  # type: ignore[arg-type]


def test_neg_clip_loss_is_its_formula() -> None:
    chance = np.random.default_rng(0)
    images, texts = unit(chance, 30, 12), unit(chance, 30, 12)
    uids = uids_of([f"{n:032x}" for n in range(30)])
    batches = [(uids[:9], images[:9], texts[:9]), (uids[9:20], images[9:20], texts[9:20])]
    found = neg_clip_loss(images, texts, uids, batches, 0.07)
    for i in range(30):
        against = 0.0
        for members in (list(range(9)), list(range(9, 20))):
            batch = sorted({*members, i})
            against += np.log(sum(np.exp(images[i] @ texts[j] / 0.07) for j in batch))
            against += np.log(sum(np.exp(images[j] @ texts[i] / 0.07) for j in batch))
        assert found[i] == pytest.approx(images[i] @ texts[i] - 0.07 / 4 * against, rel=1e-9)


def test_norm_sims_are_the_norms_of_the_cosines() -> None:
    chance = np.random.default_rng(1)
    images, targets = unit(chance, 20, 12), 3 * unit(chance, 50, 12)
    cosines = images @ (targets / 3).T
    two, most = norm_sims(2 * images, targets)
    assert two == pytest.approx(np.linalg.norm(cosines, axis=1))
    assert most == pytest.approx(np.abs(cosines).max(axis=1))


def test_similarities_do_not_hang_on_sharding(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=3, rows=40)
    np.save(tmp_path / "t.npy", unit(np.random.default_rng(3), 30, 16))
    config = SimilarityConfig(batch_rows=20, num_batches=3, targets=str(tmp_path / "t.npy"))
    score_similarities(open_pool(pool), config, tmp_path / "many")
    tables = [pq.read_table(path) for path in sorted(pool.glob("*.parquet"))]
    arrays = [dict(np.load(path)) for path in sorted(pool.glob("*.npz"))]
    (tmp_path / "whole").mkdir()
    pq.write_table(pa.concat_tables(tables), tmp_path / "whole" / "0.parquet")
    np.savez(tmp_path / "whole" / "0.npz", **{k: np.concatenate([a[k] for a in arrays]) for k in arrays[0]})
    score_similarities(open_pool(tmp_path / "whole"), config, tmp_path / "one")
    many = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "many").glob("*.parquet"))])
    one = pq.read_table(tmp_path / "one" / "0.parquet")
    assert one.column_names == ["negclip", "normsim_2", "normsim_inf"]
    for name in one.column_names:
        assert one[name].to_numpy() == pytest.approx(many[name].to_numpy(), rel=1e-12)
    with pytest.raises(ConfigError, match="temperature is 0"):
        SimilarityConfig(temperature=0)
    with pytest.raises(ConfigError, match="batch_rows is 1"):
        SimilarityConfig(batch_rows=1)
    with pytest.raises(ConfigError, match="names /nowhere"):
        score_similarities(open_pool(pool), SimilarityConfig(targets="/nowhere"), tmp_path / "x")


def test_pictures_of_an_evaluation_set_are_found_by_hash_and_by_features(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", tables=2, rows=30)
    score = tmp_path / "score"
    score.mkdir()
    chance = np.random.default_rng(4)
    hashes = chance.integers(0, 2**63, (2, 30)).astype(np.uint64)
    for number in range(2):
        values = pa.array(hashes[number], mask=np.arange(30) == 7)
        pq.write_table(pa.table({"phash": values}), score / f"{number:08}.parquet")
    np.save(tmp_path / "h.npy", np.array([hashes[0, 3] ^ np.uint64(5), hashes[1, 9], hashes[1, 7]]))
    opened = open_pool(pool, scores=[score])
    config = ContaminationConfig(references=str(tmp_path / "h.npy"), distance=2)
    manifest = find_contaminated(opened, config, tmp_path / "out")
    write_kept(tmp_path / "out", tmp_path / "bad.npy")
    uids = [pq.read_table(pool / f"{n:08}.parquet")["uid"].to_pylist() for n in range(2)]
    assert hex_of(np.asarray(read_subset(tmp_path / "bad.npy"))) == sorted([uids[0][3], uids[1][9]])
    assert manifest["counts"] == {"contaminated": 2, "rows in": 60}
    clean = run_filter(
        opened,
        FilterConfig(keep="not contaminated", evaluation=str(tmp_path / "bad.npy")),
        tmp_path / "clean",
    )
    assert clean["rows"] == 58
    features = np.load(pool / "00000001.npz")["b32_img"][4:5].astype(np.float32)
    np.save(tmp_path / "f.npy", features * 2)
    config = ContaminationConfig(references=str(tmp_path / "f.npy"), column="b32_img", threshold=0.999)
    find_contaminated(opened, config, tmp_path / "close")
    found = np.concatenate([np.load(path) for path in sorted((tmp_path / "close").glob("*.npy"))])
    assert hex_of(found.astype(UID)) == [uids[1][4]]
    np.save(tmp_path / "w.npy", np.zeros((2, 3), np.float32))
    (tmp_path / "x.npy").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read as references"):
        find_contaminated(opened, ContaminationConfig(references=str(tmp_path / "x.npy")), tmp_path / "y")
    with pytest.raises(ConfigError, match="names /nowhere"):
        ContaminationConfig(references="/nowhere")
    with pytest.raises(ConfigError, match="threshold is 2"):
        ContaminationConfig(references=str(tmp_path / "f.npy"), threshold=2)
