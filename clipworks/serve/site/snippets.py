"""The same request in four languages, to copy, with names and addresses quoted as each language does."""

import json
import shlex
from dataclasses import dataclass

KEY_PLACE = "YOUR_KEY"
"""What stands where a key belongs, on a server that asks for one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snippet:
    """One program."""

    name: str
    """Of its tab; also, in lower case, of its field in forms."""
    text: str
    """To be run as it stands, with the reader's key in its place."""


def snippets(model: str, address: str, key: str, source: str) -> list[Snippet]:
    """curl, Python with `openai`, Python with clipworks, and JavaScript.

    Args:
        model: what requests call it.
        address: scheme, host and port of this server.
        key: what is shown in the place of the key; empty on a server that asks for none.
        source: what `clipworks.load` takes for the same model; empty where nobody knows.
    """
    found = [
        Snippet(name="curl", text=_curl(model, address, key)),
        Snippet(name="Python openai", text=_openai(model, address, key)),
        Snippet(name="Python clipworks", text=_clipworks(source)),
        Snippet(name="JavaScript", text=_javascript(model, address, key)),
    ]
    return [one for one in found if one.text]


def _curl(model: str, address: str, key: str) -> str:
    body = json.dumps({"model": model, "input": ["a red apple", "a green apple"]}, ensure_ascii=False)
    lines = [f"curl {address}/v1/embeddings", "  -H 'content-type: application/json'"]
    if key:
        lines.append(f"  -H 'authorization: Bearer {key}'")
    return " \\\n".join([*lines, f"  -d {shlex.quote(body)}"])


def _openai(model: str, address: str, key: str) -> str:
    return f"""from base64 import b64encode
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url={_quoted(address + "/v1")}, api_key={_quoted(key or "x")})
data = b64encode(Path("picture.jpg").read_bytes()).decode()
answer = client.embeddings.create(
    model={_quoted(model)},
    input=["a red apple", f"data:image/jpeg;base64,{{data}}"],
)
text, picture = (row.embedding for row in answer.data)
print(sum(a * b for a, b in zip(text, picture)))  # their cosine"""


def _clipworks(source: str) -> str:
    if not source:
        return ""
    return f"""import clipworks

engine = clipworks.load({_quoted(source)})  # on your own machine, without a server
labels = ["a red apple", "a green apple"]
vectors = engine.embed_images(["picture.jpg"])
print(engine.classify(["picture.jpg"], labels))"""


def _javascript(model: str, address: str, key: str) -> str:
    authorization = f"\n    authorization: {_quoted(f'Bearer {key}')}," if key else ""
    return f"""const response = await fetch({_quoted(address + "/v1/embeddings")}, {{
  method: "POST",
  headers: {{
    "content-type": "application/json",{authorization}
  }},
  body: JSON.stringify({{
    model: {_quoted(model)},
    input: ["a red apple", "a green apple"],
  }}),
}});
const {{ data }} = await response.json();
console.log(data[0].embedding.length);"""


def _quoted(text: str) -> str:
    """A string as Python and JavaScript both write it."""
    return json.dumps(text)
