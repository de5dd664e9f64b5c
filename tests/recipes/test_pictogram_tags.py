import json
from pathlib import Path

from recipes.pictogram_tags import MAX_TAGS, read_tags


def test_tags_of_all_packages_are_joined_under_the_plain_name(tmp_path: Path) -> None:
    for name in ("mdi", "tabler", "lucide", "phosphor"):
        (tmp_path / name).mkdir()
    mdi = [{"name": "hot-dog-outline", "tags": ["Food / Drink", "Vector"], "aliases": ["sausage"]}]
    (tmp_path / "mdi/meta.json").write_text(json.dumps(mdi))
    (tmp_path / "tabler/icons.json").write_text(
        '{"hot-dog": {"category": "Food", "tags": ["a", "fast-food"]}}'
    )
    (tmp_path / "lucide/tags.json").write_text('{"hot-dog": ["Snack", "icon", "fast-food"]}')
    (tmp_path / "phosphor/index.mjs").write_text(
        'x = [{ name: "hot-dog", categories: [e.OBJECTS], figma_category: a.X, tags: ["*new*", "grill"] }]'
    )
    assert read_tags(tmp_path) == {"hot dog": ("food and drink", "food", "fast food", "snack")}
    assert MAX_TAGS == 4


def test_packages_that_are_not_there_give_nothing(tmp_path: Path) -> None:
    assert read_tags(tmp_path) == {}
