"""Names of icons as captions: style words off, codes and trade marks out.

`NameCleaner` holds the style words of one icon set, found from what the set declares and from what
its names end in. No pictures here; called by `pictogram_icons`.
"""

import re
from collections import Counter
from collections.abc import Iterable

SURE_STYLES = frozenset(
    """outline outlined filled duotone twotone rounded linear 10 12 14 15 16 18 20 24 28 30 32 36 48 64 96
    24px 48px 1x1 4x3 v1 v2 rtl ltr negative""".split()
)
"""Last words that never belong to the thing shown."""

POSSIBLE_STYLES = frozenset(
    """fill bold line light thin regular sharp solid round flat color colored broken duo stroke alt
    alternate remix block print pop pencil variant small large mini micro o s tone two oval rounded
    big tiny square circle circled right left up down horizontal vertical baseline simple""".split()
)
"""Last words that are a style only in a set where many names end in them."""

BRANDS = frozenset(
    """google facebook twitter instagram youtube linkedin github gitlab bitbucket paypal mastercard
    whatsapp tiktok spotify microsoft android chrome firefox netscape figma dribbble behance
    pinterest snapchat skype telegram wechat weibo reddit tumblr flickr vimeo twitch xbox
    playstation nintendo dropbox evernote wordpress drupal joomla magento shopify airbnb uber lyft
    ebay etsy yelp foursquare tripadvisor quora yahoo odnoklassniki soundcloud lastfm bandcamp
    itunes netflix hulu disney ios macos ubuntu debian linux redhat centos docker kubernetes aws
    javascript typescript python php html5 css3 nodejs npm jquery tailwind webpack codepen jsfiddle
    stackoverflow hackernews producthunt bitcoin ethereum litecoin dogecoin monero zcash alipay
    klarna amex openai chatgpt anthropic copilot deepseek huggingface trello jira viber kakao
    bluesky adobe photoshop illustrator autodesk trustpilot patreon kofi wikipedia mozilla samsung
    huawei xiaomi nokia lenovo nvidia tesla bmw audi toyota vk""".split()
)
"""Trade marks: a name in which one of these words stands is left out."""

BRAND_NOUNS = frozenset(
    """apple amazon windows opera safari medium line steam slack sketch less git ripple dash threads signal
    zoom notion react gemini meta discover maestro stripe ember visa discord java ruby gulp edge
    messenger intel dell sass svelte vue angular bootstrap fedora canva asana perplexity grok
    mistral claude mastodon bing hp lg sony amd azure""".split()
)
"""Trade marks that are ordinary words too: left out where one is the whole name of an icon."""

BRAND_MARKS = ("brand", "logo", "logos", "devicon", "social")
"""First or last words with which general sets mark a trade mark."""

SHORT_WORDS = frozenset("tv pc ox cd ax dj id".split())
"""Words of two letters that are things."""

_MAX_WORDS = 6
_STYLE_SHARE = 0.04


class NameCleaner:
    """Turn one set's icon names into plain words.

    Args:
        names: all names of the set, to find which endings are styles there.
        suffixes: endings that the set declares as styles, `20-filled`.
        prefixes: beginnings that it declares so, `baseline`.
        brands: names of trade marks in plain words, none of them an ordinary noun.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        suffixes: Iterable[str] = (),
        prefixes: Iterable[str] = (),
        brands: frozenset[str] = frozenset(),
    ) -> None:
        all_names = list(names)
        last = Counter(name.rsplit("-", 1)[-1] for name in all_names)
        often = max(20, _STYLE_SHARE * len(all_names))
        self._styles = SURE_STYLES | {word for word in POSSIBLE_STYLES if last[word] >= often}
        self._suffixes = sorted((f"-{text}" for text in suffixes if text), key=len, reverse=True)
        self._prefixes = tuple(f"{text}-" for text in prefixes if text)
        self._brands = brands

    def clean(self, name: str) -> str:
        """The name in plain words, or an empty text if it names nothing that can be drawn."""
        for suffix in self._suffixes:
            if name.endswith(suffix):
                name = name.removesuffix(suffix)
                break
        for prefix in self._prefixes:
            name = name.removeprefix(prefix)
        words = [re.sub(r"(?<=[a-z]{3})\d+$", "", word) for word in plain_words(name).split()]
        while len(words) > 1 and self._is_style(words[-1]):
            words.pop()
        text = " ".join(words)
        return "" if _is_useless(words) or self._is_brand(words, text) else text

    def _is_style(self, word: str) -> bool:
        return word in self._styles or bool(re.fullmatch(r"\d{1,2}|[a-z]\d", word))

    def _is_brand(self, words: list[str], text: str) -> bool:
        is_marked = words[0] in BRAND_MARKS or words[-1] in BRAND_MARKS
        return is_marked or bool(BRANDS & set(words)) or text in BRAND_NOUNS or text in self._brands


def plain_words(name: str) -> str:
    """`Umbrella-on_ground` as `umbrella on ground`."""
    return " ".join(re.split("[-_ ]+", name.lower().strip("-_ ")))


def _is_useless(words: list[str]) -> bool:
    real = [word for word in words if word in SHORT_WORDS or re.fullmatch("[a-z]{3,}", word)]
    return (
        len(words) > _MAX_WORDS
        or not real
        or len(real) < len(words) / 2
        or words[0] in ("letter", "alpha", "number")
    )
