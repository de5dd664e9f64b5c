"""The named label sets and template sets: whole, in order, and an unknown name lists the known ones."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tiny_clip import TinyClip

import clipworks
from clipworks.errors import ConfigError
from clipworks.model.prompts import LABEL_SETS, TEMPLATE_SETS, label_set, template_set


def digest(lines: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_the_names_are_openais_thousand_in_the_order_of_the_labels() -> None:
    names = label_set("imagenet")
    assert len(names) == 1000
    assert [names[i] for i in (0, 207, 985, 999)] == ["tench", "Golden Retriever", "daisy", "toilet paper"]
    twice = {
        name: [i for i, one in enumerate(names) if one == name] for name, n in Counter(names).items() if n > 1
    }
    assert twice == {"missile": [657, 744], "sunglasses": [836, 837]}


def test_the_templates_are_the_eighty_and_seven_of_them() -> None:
    templates = template_set("imagenet")
    assert (len(templates), len(set(templates))) == (80, 80)
    assert (templates[0], templates[-1]) == ("a bad photo of a {}.", "a tattoo of the {}.")
    simple = template_set("simple")
    assert len(simple) == 7 and set(simple) <= set(templates)


def test_each_template_has_one_place_for_the_label() -> None:
    assert {one.count("{}") for name in TEMPLATE_SETS for one in template_set(name)} == {1}


def test_no_line_is_blank_or_padded() -> None:
    lines = [*(one for name in LABEL_SETS for one in label_set(name)), *template_set("imagenet")]
    assert all(line and line == line.strip() for line in lines)


def test_the_sets_are_what_the_script_wrote() -> None:
    """The files go with published scores: a changed word would go unseen without this."""
    assert digest(label_set("imagenet")) == "571ae1c583b4be7d"
    assert digest(template_set("imagenet")) == "4f976686fb651bb5"
    assert digest(template_set("simple")) == "6ef3883987d224b7"


@pytest.mark.parametrize("find", [label_set, template_set])
def test_an_unknown_name_lists_the_known_ones(find: object) -> None:
    assert callable(find)
    with pytest.raises(ConfigError, match="'imagnet'.*Nearest: imagenet"):
        find("imagnet")


def test_a_set_goes_straight_into_an_engine(tiny_clip: TinyClip) -> None:
    engine = clipworks.load(tiny_clip.native, precision="f32")
    head = engine.label_head(label_set("imagenet")[:3], template_set("simple"))
    assert head.shape == (3, engine.dim)


def test_importing_the_module_reads_no_file() -> None:
    code = (
        "import sys, clipworks.model.prompts as prompts\n"
        "print(prompts._read_lines.cache_info().currsize, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "False"]


def test_the_notice_with_the_licence_lies_beside_the_files() -> None:
    folder = Path(clipworks.__file__).parent / "model" / "prompt_sets"
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    assert "MIT License" in notice and "OpenAI" in notice
    assert all(file in notice for file in (*LABEL_SETS.values(), *TEMPLATE_SETS.values()))
