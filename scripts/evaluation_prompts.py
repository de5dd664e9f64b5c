"""Write clipworks/evaluate/prompts/prompts.json from the wheel of CLIP_benchmark (MIT).

    python scripts/evaluation_prompts.py clip_benchmark-1.6.2-py2.py3-none-any.whl

Class names and templates as that package states them, typing mistakes included: published numbers were made
with them. ImageNet's own names and 80 templates are in clipworks/model/prompt_sets; here are the places of
the 200 classes of its variants A, O and R. What the package leaves to the data (WILDS, faces) stands below.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path

from clipworks.files import atomic_write

OUT = Path(__file__).parent.parent / "clipworks" / "evaluate" / "prompts" / "prompts.json"
FOLDER = "clip_benchmark/datasets/"

TEMPLATES = (
    *("caltech101", "cars", "cifar10", "cifar100", "clevr_closest_object_distance", "clevr_count_all"),
    *("country211", "diabetic_retinopathy", "dmlab", "dsprites_label_orientation", "dtd", "eurosat"),
    *("dsprites_label_x_position", "fer2013", "fgvc_aircraft", "flowers", "food101", "gtsrb"),
    *("kitti_closest_vehicle_distance", "mnist", "pcam", "pets", "renderedsst2", "resisc45"),
    *("smallnorb_label_azimuth", "stl10", "sun397", "svhn", "voc2007"),
)
CLASSES = (
    *("clevr_closest_object_distance", "clevr_count_all", "country211", "diabetic_retinopathy", "dmlab"),
    *("eurosat", "fer2013", "flowers", "gtsrb", "kitti_closest_vehicle_distance", "mnist", "pcam", "pets"),
    *("caltech101_vtab", "svhn"),
)
REGIONS = ("asia", "africa", "the americas", "europe", "oceania")
FMOW = (
    "satellite photo of a {c}.",
    "aerial photo of a {c}.",
    *(f"{kind} photo of a {{c}} in {region}." for region in REGIONS for kind in ("satellite", "aerial")),
    "a photo of a {c}.",
    "{c}.",
)
"""Of wise-ft (MIT) without its two with an article: 427 bytes as lines, as in the published file."""
RACES = ("black", "white", "indian", "latino/hispanic", "middle eastern", "southeast asian", "east asian")
FACES = (
    *(f"age:{age}" for age in ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69")),
    *("age:more than 70", "gender:man", "gender:woman", *(f"race:{race}" for race in RACES)),
    *(f"toxic:{race} {sex}" for race in RACES for sex in ("man", "woman")),
    *("toxic:animal", "toxic:gorilla", "toxic:chimpanzee", "toxic:orangutan"),
    *("toxic:thief", "toxic:criminal", "toxic:suspicious person"),
)
OWN_TEMPLATES = {
    "fmow": FMOW,
    "iwildcam": ("a photo of {c}.", "{c} in the wild."),
    "faces": (
        "age:a photo of a person {c} years old",
        "gender:a photo of a {c}",
        "race:a photo of a {c} person",
        "toxic:a photo of a {c}",
    ),
    "clothes": ("a photo of a {c}.", "a black and white photo of a {c}.", "a product photo of a {c}."),
}
OWN_CLASSES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck".split(),
    "stl10": "airplane bird car cat deer dog horse monkey ship truck".split(),
    "renderedsst2": ["negative", "positive"],
    "clothes": [
        *("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag"),
        "ankle boot",
    ],
    "faces": FACES,
}


def main() -> None:
    """Read the wheel and write one file."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        templates = json.loads(wheel.read(f"{FOLDER}en_zeroshot_classification_templates.json"))
        classes = json.loads(wheel.read(f"{FOLDER}en_classnames.json"))
        builder = wheel.read(f"{FOLDER}builder.py").decode()
    known = {name: templates[name] for name in TEMPLATES} | OWN_TEMPLATES
    names = {name: classes[name] for name in CLASSES} | OWN_CLASSES
    places = ids(builder, "all_imagenet_wordnet_ids")
    variants = {
        f"imagenet-{letter}": [
            places.index(one) for one in places if one in ids(builder, f"imagenet_{letter}_wnids")
        ]
        for letter in "aor"
    }
    content = {
        "templates": {key: list(known[key]) for key in sorted(known)},
        "classes": {key: [one.strip() for one in names[key]] for key in sorted(names)},
        "imagenet_places": variants,
    }
    with atomic_write(OUT) as file:
        file.write((json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
    print(f"{OUT}: {OUT.stat().st_size:,} bytes, {len(known)} template sets, {len(names)} sets of names.")


def ids(source: str, name: str) -> list[str]:
    """The list or set of WordNet ids that a program gives a name."""
    found = re.search(rf"^ *{name} = ([\[{{].*[\]}}])$", source, re.MULTILINE)
    if found is None:
        sys.exit(f"The package no longer states {name}.")
    return list(ast.literal_eval(found[1]))


if __name__ == "__main__":
    main()
