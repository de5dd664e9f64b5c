"""Data as published: all forty entries in their exact layouts; what is wrong is said before it is counted."""

import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from evaluation_sets import (
    labelled,
    npy,
    picture,
    write_captioned_zip,
    write_published,
    write_set,
    write_sugar_crepe,
    write_tar,
)

from clipworks.errors import ConfigError, DataError
from clipworks.evaluate.layout import find_place
from clipworks.evaluate.pictures import read_tar
from clipworks.evaluate.run import RunConfig, plan_run
from clipworks.evaluate.tasks import all_tasks, choose_tasks, find_task, suites
from clipworks.evaluate.wording import known_classes, known_templates
from clipworks.evaluate.zipped import read_cues, read_selections

FORTY = [task for task in all_tasks() if task.metric and "datacomp38" in task.suites or task.kind == "faces"]


def plan(data: Path, suite: str = "cifar10", **settings: str) -> object:
    return plan_run(suite, data, RunConfig(**settings))


def small(data: Path, count: int = 6, num_classes: int = 10) -> Path:
    return write_set(data / "wds_cifar10_test", labelled(count, num_classes))


def test_the_table_has_datacomps_forty_entries_and_the_published_collections() -> None:
    assert len(FORTY) == 40
    sizes = {name: len(tasks) for name, tasks in suites().items()}
    assert sizes["datacomp38"] == 38 and sizes["vtab"] == 19 and sizes["vtab+"] == 36
    assert sizes["vtab13"] == 13 and sizes["imagenet_shifts"] == 6 and sizes["sugar_crepe"] == 7
    assert sizes["xm3600"] == 36
    for task in FORTY:
        assert task.repo and len(task.revision) == 7 and task.licence and task.size
    assert len({task.key for task in all_tasks()}) == len(all_tasks())


def test_known_prompts_have_the_numbers_of_the_table() -> None:
    for task in all_tasks():
        if task.prompts:
            assert len(known_templates(task.prompts)) == task.templates, task.key
        if task.names:
            assert len(known_classes(task.names)) == task.classes, task.key
    lines = "".join(f"{line}\n" for line in known_templates("fmow"))
    assert len(lines) == 427  # bytes of the published file
    assert len("".join(f"{line}\n" for line in known_templates("iwildcam"))) == 33
    assert len("\n".join(known_templates("eurosat"))) + 1 == 111


@pytest.mark.parametrize("task", FORTY, ids=lambda task: task.key)
def test_every_entry_is_read_in_its_published_layout(task: object, tmp_path: Path) -> None:
    write_published(task, tmp_path)
    (job,) = plan_run(task.key, tmp_path, RunConfig()).jobs
    shards = list(job.pictures())
    assert job.task == task and len(job.data_sha256) == 64
    count = sum(len(shard) for shard in shards)
    assert count == (12 if task.kind == "association" else 6)
    data = [data for shard in shards for data in shard.read(range(len(shard)))]
    assert all(one.startswith(b"\x89PNG") for one in data) and len(set(data)) == count
    if task.kind == "classification":
        assert np.concatenate([shard.labels for shard in shards]).tolist() == [
            n % task.classes for n in range(6)
        ]
        assert job.wording is not None and len(job.wording.classes) == task.classes
    if task.kind == "retrieval":
        assert [len(texts) for texts in shards[0].texts] == [1, 2] * 3
    if task.kind == "association":
        _, cues = read_cues(job.place.archive)
        assert [len(cue.candidates) for cue in cues] == [5, 10, 12]
        assert [len(cue.associations) for cue in cues] == [2, 3, 1]
    if task.kind == "faces":
        assert np.concatenate([shard.columns for shard in shards]).shape == (6, 4)


def test_sugar_crepe_is_read_beside_cocos_pictures(tmp_path: Path) -> None:
    write_sugar_crepe(tmp_path, "swap_obj")
    (job,) = plan_run("sugar_crepe", tmp_path, RunConfig()).jobs
    pictures, found = read_selections(job.place.selection, job.place.folder)
    assert [one.right for one in found] == [f"a dog {n}" for n in range(4)] and len(pictures) == 4
    (tmp_path / "val2017" / "000000000001.jpg").unlink()
    with pytest.raises(DataError, match="000000000001.jpg is missing"):
        list(job.pictures())


def test_a_folder_is_found_by_several_names(tmp_path: Path) -> None:
    task = find_task("cifar10")
    assert task is not None and find_place(task, tmp_path) is None
    for number, name in enumerate(("wds_cifar10_test", "cifar10", "vtab/cifar100")):
        data = tmp_path / str(number)
        write_set(data / name, labelled(4, 10))
        wanted = find_task("cifar100") if "100" in name else task
        assert find_place(wanted, data).folder == data / name
    assert find_place(task, tmp_path / "1" / "cifar10").folder == tmp_path / "1" / "cifar10"


def test_a_shard_that_is_missing_or_too_many_stops_the_run(tmp_path: Path) -> None:
    folder = small(tmp_path)
    assert len(list((folder / "test").glob("*.tar"))) == 2
    (folder / "test" / "7.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds 7.tar, and nshards.txt says 2"):
        plan(tmp_path)
    (folder / "test" / "7.tar").unlink()
    (folder / "test" / "1.tar").unlink()
    with pytest.raises(DataError, match="lacks 1.tar of 2 shards; nothing was counted"):
        plan(tmp_path)
    (folder / "test" / "nshards.txt").write_text("two")
    with pytest.raises(DataError, match="says 'two'; it must be the number"):
        plan(tmp_path)
    (folder / "test" / "nshards.txt").unlink()
    with pytest.raises(DataError, match="nobody knows how many shards"):
        plan(tmp_path)


def test_a_cut_or_changed_shard_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path) / "test" / "0.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut or damaged"):
        read_tar(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="cut or damaged"):
        read_tar(path)
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])  # a header that its checksum does not fit
    with pytest.raises(DataError, match="cut or damaged"):
        read_tar(path)


def test_tars_of_all_kinds_give_the_same_samples(tmp_path: Path) -> None:
    samples = labelled(5, 10, columns=3)
    for name, form in (
        ("pax", tarfile.PAX_FORMAT),
        ("ustar", tarfile.USTAR_FORMAT),
        ("gnu", tarfile.GNU_FORMAT),
    ):
        write_tar(tmp_path / f"{name}.tar", samples, form=form)
    found = [read_tar(tmp_path / f"{name}.tar") for name in ("pax", "ustar", "gnu")]
    again = read_tar(tmp_path / "pax.tar")
    for one in (*found, again):
        assert one.keys == tuple(f"s{n:07d}" for n in range(5))
        assert one.labels.tolist() == [0, 1, 2, 3, 4] and one.columns.shape == (5, 3)
        assert list(one.read([3])) == [samples[3]["png"]]
        assert (one.digests == found[0].digests).all()


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"cls": b"1"}, "has no picture"),
        ({"png": b"x", "cls": b"one"}, "no whole number"),
        ({"png": b"x", "cls": b"1", "npy": b"x"}, "cannot be used"),
        ({"png": b"x"}, "1 of 2 samples"),
        ({"png": b"x", "cls": b"1", "txt": b"\xff"}, "not UTF-8"),
    ],
)
def test_a_damaged_sample_is_named(sample: dict[str, bytes], words: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [{"png": picture(0), "cls": b"0"}, sample])
    with pytest.raises(DataError, match=words):
        read_tar(tmp_path / "0.tar")


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    folder = small(tmp_path)
    write_tar(folder / "test" / "1.tar", labelled(2, 10), first=0)
    with pytest.raises(DataError, match="s0000000 stands twice"):
        list(plan(tmp_path).jobs[0].pictures())


def test_other_words_than_the_published_ones_are_refused_unless_they_are_wanted(tmp_path: Path) -> None:
    folder = small(tmp_path)
    (folder / "zeroshot_classification_templates.txt").write_text("a foto of a {c}.\n")
    with pytest.raises(DataError, match="has 1 lines, the published one 18.*--set prompts=folder"):
        plan(tmp_path)
    names = "".join(f"{name}\n" for name in ("aeroplane", *known_classes("cifar10")[1:]))
    (folder / "zeroshot_classification_templates.txt").unlink()
    (folder / "classnames.txt").write_text(names)
    with pytest.raises(DataError, match="'aeroplane' in line 1, the published one 'airplane'"):
        plan(tmp_path)
    (job,) = plan(tmp_path, prompts="folder").jobs
    assert job.wording.source == "folder" and job.wording.classes[0] == "aeroplane"
    (folder / "classnames.txt").write_text("one\n")
    with pytest.raises(DataError, match="names 1 classes; CIFAR-10 has 10"):
        plan(tmp_path, prompts="folder")
    (folder / "classnames.txt").unlink()
    (folder / "zeroshot_classification_templates.txt").write_text("a photo\n")
    with pytest.raises(DataError, match="has no {c}"):
        plan(tmp_path, prompts="folder")


def test_what_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    small(tmp_path)
    found = plan_run("datacomp38", tmp_path, RunConfig())
    assert [job.task.key for job in found.jobs] == ["cifar10"] and len(found.missing) == 37
    with pytest.raises(DataError, match="holds none of the 6 data sets of imagenet_shifts"):
        plan(tmp_path, "imagenet_shifts")
    with pytest.raises(ConfigError, match="no suite or task 'cifar11'"):
        plan(tmp_path, "cifar11")
    with pytest.raises(DataError, match="is not a folder"):
        plan(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="must be one of"):
        RunConfig(prompts="mine")
    assert [task.key for task in choose_tasks("imagenet,fmow")] == ["imagenet1k", "wilds/fmow"]


def test_an_archive_without_its_half_or_its_picture_is_refused(tmp_path: Path) -> None:
    task = find_task("flickr")
    folder = write_captioned_zip(task, tmp_path / "flickr_1k_test_image_text_retrieval")
    table = folder / "test_1k_flickr.csv"
    text = table.read_text()
    table.write_text(text.replace("5.jpg", "55.jpg"))
    with pytest.raises(DataError, match="lacks the picture 55.jpg"):
        list(plan(tmp_path, task.key).jobs[0].pictures())
    table.write_text(text.replace('"[""a picture of number 0""]"', "[]"))
    with pytest.raises(DataError, match="line 2: 0.jpg has no caption"):
        list(plan(tmp_path, task.key).jobs[0].pictures())
    (folder / "images_flickr_1k_test.zip").unlink()
    with pytest.raises(DataError, match="images_flickr_1k_test.zip is missing"):
        plan(tmp_path, task.key)


def test_pictures_that_a_table_or_its_zip_has_twice_are_refused(tmp_path: Path) -> None:
    task = find_task("flickr")
    folder = write_captioned_zip(task, tmp_path / "flickr_1k_test_image_text_retrieval")
    table, images = folder / "test_1k_flickr.csv", folder / "images_flickr_1k_test.zip"
    text = table.read_text()
    table.write_text(text.replace("5.jpg", "4.jpg"))
    with pytest.raises(DataError, match="names the picture 4.jpg twice"):
        list(plan(tmp_path, task.key).jobs[0].pictures())
    table.write_text(text)
    with zipfile.ZipFile(images, "a") as archive:
        archive.writestr("more/4.jpg", picture(9))
    with pytest.raises(DataError, match="holds twice the picture 4.jpg"):
        list(plan(tmp_path, task.key).jobs[0].pictures())
    data = bytearray(write_captioned_zip(task, tmp_path / "again").joinpath(images.name).read_bytes())
    data[60:90] = bytes(30)  # inside the first picture
    images.write_bytes(data)
    with pytest.raises(DataError, match="images_flickr_1k_test.zip cannot be read"):
        list(plan(tmp_path, task.key).jobs[0].pictures())


def test_a_changed_picture_of_a_selection_makes_other_data(tmp_path: Path) -> None:
    write_sugar_crepe(tmp_path, "swap_obj")
    (before,) = plan(tmp_path, "sugar_crepe").jobs
    (tmp_path / "val2017" / "000000000001.jpg").write_bytes(picture(77))
    (after,) = plan(tmp_path, "sugar_crepe").jobs
    assert before.data_sha256 != after.data_sha256


def test_a_folder_of_one_data_set_stands_for_the_one_task_that_is_asked_for(tmp_path: Path) -> None:
    write_set(tmp_path / "any", labelled(4, 10))
    (tmp_path / "any" / "classnames.txt").write_text("".join(f"{c}\n" for c in known_classes("cifar10")))
    assert plan(tmp_path / "any").jobs[0].task.key == "cifar10"
    with pytest.raises(DataError, match="holds none of the 38 data sets"):
        plan(tmp_path / "any", "datacomp38")


def test_a_name_that_is_nearly_right_is_answered_with_the_folder(tmp_path: Path) -> None:
    write_set(tmp_path / "birds", labelled(4, 2), classes=["a", "b"], templates=["{c}"])
    with pytest.raises(ConfigError, match="Nearest: birds,"):
        plan(tmp_path, "bird")
    with pytest.raises(ConfigError, match="have an empty name"):
        plan(tmp_path, "birds,")
    (tmp_path / "half").mkdir()
    with pytest.raises(DataError, match="half has no folder test"):
        plan(tmp_path, "half")


def test_probes_are_asked_for_in_one_way_and_told_where_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    small(tmp_path)
    assert plan(tmp_path, probe=True).unprobed == ("cifar10",)
    assert plan(tmp_path).unprobed == ()
    with pytest.raises(ConfigError, match="shots is '1' and probe is false"):
        RunConfig(shots="1")


def test_labels_of_several_classes_and_wrong_kinds_are_told_apart(tmp_path: Path) -> None:
    task = find_task("voc2007_multilabel")
    samples = [{"png": picture(n), "npy": npy([int(n == c) for c in range(20)])} for n in range(4)]
    folder = write_set(tmp_path / "wds_voc2007_multilabel", samples, classes=[f"c{n}" for n in range(20)])
    with pytest.raises(DataError, match="is data for classification"):
        plan(tmp_path, task.key)
    (folder / "dataset_type.txt").write_text("multilabel\n")
    (job,) = plan(tmp_path, task.key).jobs
    assert next(iter(job.pictures())).columns.sum() == 4
    (folder / "dataset_type.txt").write_text("video\n")
    with pytest.raises(DataError, match="says 'video'"):
        plan(tmp_path, task.key)


def test_what_was_read_once_is_kept_by_content(tmp_path: Path, cache: Path) -> None:
    path = small(tmp_path) / "test" / "0.tar"
    read_tar(path)
    kept = [
        one
        for one in (cache / "evaluation" / "shards").iterdir()
        if one.name.startswith(read_tar(path).sha256[:32])
    ]
    assert len(kept) == 1
    kept[0].write_bytes(json.dumps({}).encode())
    assert len(read_tar(path)) == 4  # a damaged cache is made again


def test_what_a_task_cannot_use_is_said_by_the_plan_already(tmp_path: Path) -> None:
    def refused(suite: str, samples: list, words: str, **more: object) -> None:
        write_set(tmp_path / suite / suite, samples, **more)
        with pytest.raises(DataError, match=words):
            list(plan(tmp_path / suite, suite).jobs[0].pictures())

    two = {"classes": ["red", "blue"], "templates": ["{c}"]}
    refused("labels", labelled(5, 3), r"s0000002 in .*0.tar has the label 2; the classes are 0..1", **two)
    refused("unlabelled", [{"png": picture(0), "txt": b"a"}], "have no label", **two)
    refused("several", [{"png": picture(0), "npy": npy([2, 0])}], "zeros and ones", kind="multilabel", **two)
    refused("texts", [{"png": picture(0), "cls": b"0"}], "have no captions", kind="retrieval")
    blank = [{"png": picture(n), "txt": (b"a", b" ")[n]} for n in range(2)]
    refused("blank", blank, "s0000001 in .*0.tar has no caption", kind="retrieval")
    write_set(tmp_path / "fmow", labelled(3, 62, columns=2), classes=[f"c{n}" for n in range(62)])
    with pytest.raises(DataError, match="have 2 numbers a picture; fmow has region, year, y"):
        list(plan(tmp_path, "fmow").jobs[0].pictures())
    faces = write_set(tmp_path / "fairface", [{"png": picture(0), "npy": npy([0, 2, 0, 0])}])
    with pytest.raises(DataError, match="has gender 2; it must be 0..1"):
        list(plan(faces, "fairface").jobs[0].pictures())
