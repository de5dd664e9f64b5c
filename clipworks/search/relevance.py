"""From which score on a search counts as found: measured for each index when it is built.

CLIP scores have no fixed zero: how close unrelated words come differs from model to model and
from collection to collection. So an index is asked some hundred questions that no picture can
answer (`BACKGROUND_TEXTS`: words on tax, grammar and the like, none of which names a thing that
can be seen) and the best score of each is noted. The threshold for texts is the 95 %
quantile of these: of such questions, one in twenty would still be called found.

From `MIN_PICTURES` pictures on there are two rules, and one of them is enough. Some texts come near to every
picture: so for each question it is noted by how much its best score is above the mean of its scores, and
the margin is the 95 % quantile of that. (The mean of the scores is the product with the mean of the vectors.)
But where all pictures are of one kind, its name is near to all of them and far above none: so what comes
nearer than 97 % of those questions do counts as well.

For a picture as the question there is no list to compare with. There the threshold is the 5 %
quantile of what the pictures of the index score with their own nearest neighbour: a question
that is farther away than nearly all pictures are from each other has no good match.

Pictures are nearly the same where they are 3 % as far from each other as pictures of the index
usually are, by the cosine.
"""

import io
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from clipworks.files import NPZ_DAMAGE, atomic_write, cache_folder
from clipworks.search.store import Relevance, Slots, Vectors

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

TEXT_QUANTILE = 0.95
TEXT_QUANTILE_BESIDE_MARGIN = 0.97
IMAGE_QUANTILE = 0.05
MIN_PICTURES = 20
_NEIGHBOUR_SAMPLE = 500
ALIKE_SHARE = 0.03
"""Of the distance between two pictures that have nothing to do with each other; see docs/search.md."""
_RANDOM_PAIRS = 10_000
_FOLDER = "background"
"""Below the cache folder."""


def measure(engine: "Engine", vectors: Vectors) -> Relevance:
    """Measure the thresholds of an index.

    Args:
        engine: the checkpoint that made the vectors.
        vectors: float32 [N, D], rows of unit length, N at least 1.

    Returns:
        The thresholds; below `MIN_PICTURES` pictures without margin, and without the one for pictures.
    """
    background = background_vectors(engine)
    best = _best_scores(background, vectors)
    alike_threshold = _alike_threshold(vectors)
    if len(vectors) < MIN_PICTURES:
        text_threshold = float(np.quantile(best, TEXT_QUANTILE))
        return Relevance(text_threshold=text_threshold, alike_threshold=alike_threshold)
    mean = vectors.mean(axis=0, dtype=np.float64)
    return Relevance(
        text_threshold=float(np.quantile(best, TEXT_QUANTILE_BESIDE_MARGIN)),
        text_margin=float(np.quantile(best - background @ mean, TEXT_QUANTILE)),
        image_threshold=_neighbour_threshold(vectors),
        alike_threshold=alike_threshold,
        mean=tuple(round(float(value), 6) for value in mean),
    )


def background_vectors(engine: "Engine") -> Vectors:
    """The vectors of `BACKGROUND_TEXTS`, float32 [N, dim].

    They are kept in the cache, so the text tower need not be started to index pictures; where that cannot be
    written, the next index starts it again.
    """
    parts = (engine.fingerprint, engine.precision, *BACKGROUND_TEXTS)
    name = f"{sha256('|'.join(parts).encode()).hexdigest()}.npy"
    with suppress(*NPZ_DAMAGE):
        content = (cache_folder() / _FOLDER / name).read_bytes()
        kept: Vectors = np.load(io.BytesIO(content), allow_pickle=False)
        if kept.shape == (len(BACKGROUND_TEXTS), engine.dim) and kept.dtype == np.float32:
            return kept
    vectors = engine.embed_texts(BACKGROUND_TEXTS)
    made = io.BytesIO()
    np.save(made, vectors, allow_pickle=False)
    with suppress(OSError), atomic_write(cache_folder() / _FOLDER / name) as file:
        file.write(made.getvalue())
    return vectors


def _neighbour_threshold(vectors: Vectors) -> float:
    places = np.arange(0, len(vectors), -(-len(vectors) // _NEIGHBOUR_SAMPLE))
    nearest = _best_scores(vectors[places], vectors, places)
    return float(np.quantile(nearest, IMAGE_QUANTILE))


def _alike_threshold(vectors: Vectors) -> float | None:
    """How near two pictures are that are nearly the same, as a share of the way from a random pair to one."""
    if len(vectors) < 2:
        return None
    places = np.random.default_rng(0).integers(0, len(vectors), (2, _RANDOM_PAIRS))
    first, second = vectors[places[0]], vectors[places[1]]
    apart = places[0] != places[1]
    usual = float((first * second).sum(axis=1)[apart].mean())
    return 1.0 - ALIKE_SHARE * (1.0 - usual)


def _best_scores(questions: Vectors, vectors: Vectors, own: Slots | None = None) -> Vectors:
    """The best cosine of each question, float32 [Q]; `own` are their own rows, which do not count."""
    best: Vectors = np.full(len(questions), -1.0, dtype=np.float32)
    for start in range(0, len(vectors), 65_536):
        scores = vectors[start : start + 65_536] @ questions.T
        if own is not None:
            inside = np.flatnonzero((own >= start) & (own < start + len(scores)))
            scores[own[inside] - start, inside] = -1.0
        best = np.maximum(best, scores.max(axis=0))
    return best


BACKGROUND_TEXTS: tuple[str, ...] = (
    "annual percentage rate",
    "the subjunctive mood",
    "contract law",
    "value added tax return",
    "statute of limitations",
    "a clause on liability",
    "quarterly revenue guidance",
    "depreciation of assets",
    "double-entry bookkeeping",
    "the definite integral",
    "an irrational number",
    "proof by induction",
    "eigenvalues of a matrix",
    "the null hypothesis",
    "standard deviation",
    "a convergent series",
    "the continuum hypothesis",
    "analytic philosophy",
    "moral relativism",
    "the categorical imperative",
    "free will and determinism",
    "theory of knowledge",
    "epistemology",
    "nominalism",
    "utilitarian ethics",
    "the past perfect tense",
    "passive voice",
    "a relative pronoun",
    "comparative linguistics",
    "the etymology of a word",
    "syntax error on line nine",
    "null pointer exception",
    "garbage collection",
    "a recursive function",
    "backwards compatibility",
    "the release notes",
    "version control",
    "deprecated interface",
    "unit testing",
    "time complexity",
    "an abstract class",
    "dependency injection",
    "memory alignment",
    "network latency",
    "packet loss",
    "terms and conditions",
    "privacy policy",
    "cookie consent",
    "forgot your password",
    "please log in again",
    "page not found",
    "subscribe to our newsletter",
    "frequently asked questions",
    "read more",
    "about us",
    "all rights reserved",
    "return policy",
    "shipping costs",
    "out of stock",
    "customer satisfaction survey",
    "annual general meeting",
    "minutes of the last meeting",
    "agenda for tomorrow",
    "human resources department",
    "performance review",
    "a letter of recommendation",
    "job description",
    "notice period",
    "pension contribution",
    "minimum wage",
    "inflation target",
    "monetary policy",
    "gross domestic product",
    "supply and demand",
    "opportunity cost",
    "marginal utility",
    "trade deficit",
    "corporate governance",
    "due diligence",
    "mergers and acquisitions",
    "intellectual property",
    "power of attorney",
    "habeas corpus",
    "separation of powers",
    "proportional representation",
    "constitutional amendment",
    "foreign policy",
    "diplomatic immunity",
    "the industrial revolution",
    "causes of the war",
    "medieval land tenure",
    "the second law of thermodynamics",
    "quantum entanglement",
    "activation energy",
    "natural selection",
    "gene expression",
    "blood pressure reading",
    "side effects may include",
    "dosage instructions",
    "informed consent",
    "a double-blind trial",
    "peer review",
    "literature review",
    "table of contents",
    "an unreliable narrator",
    "iambic pentameter",
    "the stream of consciousness",
    "irony and satire",
    "a minor seventh",
    "equal temperament",
    "sonata form",
    "the offside rule",
    "tie-break rules",
    "league standings",
    "estimated time of arrival",
    "baggage allowance",
    "time zone difference",
    "daylight saving",
    "average annual rainfall",
    "population density",
    "the early bird discount",
    "it depends",
    "nothing in particular",
    "what do you mean",
    "as soon as possible",
    "I will call you back",
    "thanks in advance",
    "the day before yesterday",
    "once in a while",
    "more or less",
    "for the time being",
)
