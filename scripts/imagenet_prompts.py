"""Write clipworks/model/prompt_sets: OpenAI's prompt templates and class names for ImageNet.

They come from a wheel of open_clip_torch, which is read and not run (3.3.0 made the committed files):

    pip download --no-deps open_clip_torch==3.3.0
    python scripts/imagenet_prompts.py open_clip_torch-3.3.0-py3-none-any.whl
"""

import ast
import sys
import zipfile
from pathlib import Path

MODEL = Path(__file__).resolve().parents[1] / "clipworks" / "model"
SETS = MODEL / "prompt_sets"
MEMBER = "open_clip/zero_shot_metadata.py"
RULE = "-" * 96

INTRODUCTION = """imagenet_names.txt, imagenet_templates.txt, simple_templates.txt

OpenAI's 1,000 class names for ImageNet-1k in the order of the labels, their 80 prompt templates, and
the seven of these that they found to do nearly as well; one a line, `{{}}` where the label goes. They
were published in the notebook Prompt_Engineering_for_ImageNet of https://github.com/openai/CLIP and
are taken, unchanged, from {member} of {wheel}
by scripts/imagenet_prompts.py.
"""


def main() -> None:
    """Read the wheel named on the command line and write the three lists and the notice."""
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/imagenet_prompts.py open_clip_torch-VERSION-py3-none-any.whl")
    wheel = Path(sys.argv[1])
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read(MEMBER).decode())
    tuples = {ast.unparse(s.targets[0]): s.value for s in tree.body if isinstance(s, ast.Assign)}
    write("imagenet_names", [ast.literal_eval(name) for name in elements(tuples["IMAGENET_CLASSNAMES"])])
    for name in ("imagenet", "simple"):
        variable = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}[name]
        write(f"{name}_templates", [template(one) for one in elements(tuples[variable])])
    licences = (MODEL / "vocabulary" / "NOTICE").read_text(encoding="utf-8").partition(RULE)[2]
    introduction = INTRODUCTION.format(member=MEMBER, wheel=wheel.name)
    (SETS / "NOTICE").write_text(f"{introduction}\n{RULE}{licences}", encoding="utf-8")


def elements(value: ast.expr) -> list[ast.expr]:
    """The expressions inside a tuple."""
    assert isinstance(value, ast.Tuple)
    return value.elts


def template(value: ast.expr) -> str:
    """`lambda c: f'a photo of a {c}.'` -> `a photo of a {}.`"""
    assert isinstance(value, ast.Lambda) and isinstance(value.body, ast.JoinedStr)
    parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in value.body.values)
    return "".join(map(str, parts))


def write(name: str, lines: list[str]) -> None:
    """One line each; none may hold a line break."""
    assert not any("\n" in line for line in lines)
    (SETS / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines):5} {name}")


if __name__ == "__main__":
    main()
