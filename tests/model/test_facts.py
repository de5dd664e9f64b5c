import string

import pytest

from clipworks.model.catalogue import rows
from clipworks.model.facts import Facts, facts_of

IDS = [row.id for row in rows()]


def everything(facts: Facts) -> str:
    return " ".join([facts.use, facts.licence_note, *facts.limits, *facts.traps])


@pytest.mark.parametrize("model", IDS)
def test_every_model_has_use_limits_traps_files_and_a_paper(model: str) -> None:
    facts = facts_of(model)
    assert facts.use and facts.limits and facts.traps and facts.files
    assert facts.training.data and facts.training.recipe and facts.training.paper


@pytest.mark.parametrize("model", IDS[1:])
def test_published_models_say_what_they_saw_and_what_they_must_not_be_used_for(model: str) -> None:
    facts = facts_of(model)
    training = facts.training
    assert training.num_pairs is not None and training.num_seen is not None
    assert training.batch_size is not None
    assert training.num_pairs < training.num_seen
    assert training.batch_size < training.num_pairs
    for topic in ("Counting", "Fine-grained", "groups of people", "faces, surveillance"):
        assert topic in everything(facts)


def test_commercial_use_is_what_the_licence_says() -> None:
    for row in rows():
        use = facts_of(row.id).commercial_use
        if row.licence.startswith("none stated"):
            assert use == "not stated"
        else:
            assert use == ("not allowed" if "-NC" in row.licence else "allowed")


def test_hashes_are_whole_and_known_for_openai_and_metaclip_alone() -> None:
    originals = {model: facts_of(model).original for model in IDS}
    known = {model: original for model, original in originals.items() if original is not None}
    assert set(known) == {"facebook/metaclip-b16-fullcc2.5b", "openai/clip-vit-base-patch16"}
    for original in known.values():
        assert len(original.sha256) == 64 and set(original.sha256) <= set(string.hexdigits.lower())


def test_the_two_numbers_that_misled_people_are_named() -> None:
    traps = " ".join(facts_of("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K").traps)
    assert "FMoW 0.0000 is real" in traps
    assert "72.7 %" in traps and "69.17 %" in traps
    for model in ("facebook/metaclip-b16-fullcc2.5b", "openai/clip-vit-base-patch16"):
        assert facts_of(model).traps[0].startswith("quick_gelu")


def test_repositories_without_transformers_files_list_none() -> None:
    for row in rows():
        forms = {file.form.split()[0] for file in facts_of(row.id).files}
        if "DataComp" in row.id:
            assert forms == {"open_clip"}
