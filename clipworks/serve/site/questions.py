"""What people ask of a model, answered from what is known of it and from this server's limits."""

from collections.abc import Iterator

from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.entry import Entry


def questions(entry: Entry, settings: ServeSettings) -> list[dict[str, str]]:
    """`question` and `answer` of each, in order; what nobody can answer is not asked."""
    pairs = [*_of_money(entry, settings), *_of_shapes(entry, settings), *_of_answers(entry)]
    return [{"question": question, "answer": answer} for question, answer in pairs]


def _of_money(entry: Entry, settings: ServeSettings) -> Iterator[tuple[str, str]]:
    note = entry.specs.get("licence_note")
    if note:
        data = entry.specs.get("training", {}).get("data_licence", "")
        yield "May I use it commercially?", f"{note} The data: {data}" if data else note
    free = "" if settings.require_keys else " This server asks for no key and charges nothing."
    yield (
        "What does it cost?",
        f"{entry.price.usd_per_1k_images} US dollars for 1,000 pictures of any size and "
        f"{entry.price.usd_per_1k_texts} for 1,000 texts.{free}",
    )


def _of_shapes(entry: Entry, settings: ServeSettings) -> Iterator[tuple[str, str]]:
    specs = entry.specs
    if "image_size" in specs:
        side = specs["image_size"]
        yield (
            "How large may a picture be?",
            f"A file of up to {settings.max_image_bytes >> 20} MiB, {settings.max_images} in a request. "
            f"The model sees its middle square at {side} x {side} pixels: small details are lost.",
        )
    if "context_length" in specs:
        yield (
            "How long may a text be?",
            f"The model reads {specs['context_length'] - 2} tokens, some 50 English words. What is longer is "
            'cut at its end; with "truncate": false it is refused.',
        )
    if "dim" in specs:
        yield (
            "What is in a vector?",
            f"{specs['dim']} numbers of unit length; the product of two is their cosine. Vectors of pictures "
            "and of texts lie in one space. Vectors of different models cannot be compared.",
        )


def _of_answers(entry: Entry) -> Iterator[tuple[str, str]]:
    yield (
        "Why does a label get 99 % although it is wrong?",
        "Percentages divide 100 % among the labels that you offer. Look at the cosine beside it, and offer a "
        "label for what else may be there.",
    )
    if entry.specs.get("fingerprint"):
        yield (
            "Which checkpoint answers?",
            "Each answer names it in the header x-model-fingerprint: the sha256 of shape, weights and pixel "
            "normalisation, the same for the same model in any file format.",
        )
