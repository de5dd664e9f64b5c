"""Tables of words for `pictogram_words`: which nouns are things, vague or ambiguous, and kinds of emoji.

Only data, in plain English, chosen by reading captions; no code.
"""

ANIMAL_FILE, ARTIFACT_FILE, FOOD_FILE, PERSON_FILE, PLANT_FILE = 5, 6, 13, 18, 20
CONCRETE_FILES = frozenset({5, 6, 8, 13, 17, 18, 19, 20, 27})
"""WordNet's lexicographer files of things one can draw: animal, artifact, body, food, object, person,
phenomenon, plant, substance."""

BASIC_CATEGORIES = frozenset(
    """animal mammal bird reptile amphibian fish insect crustacean plant tree flower fruit vegetable food
    beverage dish dessert meat bread vehicle ship boat aircraft building house clothing footwear
    headdress furniture tool weapon musical_instrument container vessel person worker machine
    computer toy game_equipment sports_equipment writing_implement medicine currency jewelry
    tableware cutlery kitchen_utensil appliance home_appliance electronic_equipment timepiece lamp
    fabric cosmetic body_part organ room garment motor_vehicle wheeled_vehicle public_transport
    seafood candy cake cheese herb fungus edible_fruit citrus feline canine rodent primate dinosaur
    bag bottle optical_instrument measuring_instrument lock fastener cooking_utensil athlete
    performer scientist entertainer spiritual_being monster road tower bridge celestial_body star
    planet storm precipitation mountain body_of_water shellfish arthropod""".split()
)
"""Hypernyms worth saying wherever they stand in the chain; the names people use for kinds of things."""

VAGUE = frozenset(
    """entity physical_entity abstraction abstract_entity object physical_object whole unit artifact matter
    thing causal_agent cause living_thing organism being psychological_feature group relation
    attribute instrumentality part piece placental vertebrate chordate ungulate even-toed_ungulate
    substance natural_object material conveyance transport equipment implement instrument article
    way passage surface solid fluid nutriment foodstuff commodity consumer_goods vascular_plant
    woody_plant aquatic_vertebrate craniate seed_plant spermatophyte angiosperm plant_part
    plant_organ reproductive_structure adult self-propelled_vehicle invertebrate process phenomenon
    physical_phenomenon natural_phenomenon geological_formation facility area region location
    mechanism system contestant communicator creator expert intellectual preserver peer associate
    leader body natural_elevation device structure covering construction symbol""".split()
)
"""Hypernyms that say nothing to somebody who looks for a picture."""

POLYSEMOUS = frozenset(
    """down up back left right window windows net network drive club iris thumbnail thumb board bar table
    tab link check mouse cell cells column row spark note notes back front side top bottom page
    screen web site card slot key keys badge stack queue panel tag label pin marker track script
    thread port socket hub bridge switch node root branch fork head header footer body hook pull
    trunk leaf pool bucket container package pipe pipeline stream cloud server client agent driver
    worker bug patch fix bundle module shell kernel core memory cache cookie token prompt prune crop
    frame plot graph chart scale ruler layer sheet slide record play plug string float double char
    pad pen sort filter search zoom minus plus cross dash slash dot user users account profile
    person people male female vip host guest member admin assistant bot calculator indicator counter
    detector connector editor reader timer finder viewer player organizer loader sender receiver
    reset exit entry access reply share match set case base point line strip edge corner center
    middle stop go off on over out in fill stroke bold italic underline close open undo redo copy
    paste cut save load run pause start end home view split join merge shift control option command
    return enter space escape delete insert function small large big mini micro round plain simple
    log chip stick sticker slider""".split()
)
"""Head nouns that mean something else on a user interface than WordNet's first sense: no hypernyms."""

UNAMBIGUOUS_ALONE = frozenset({"bridge", "key", "leaf"})
"""Of those, words that mean the thing when they stand alone."""

PREPOSITIONS = frozenset("with without whit of in on at and for from to over under behind by near".split())
"""Words before which the head noun of a name stands."""

SUBGROUPS: dict[str, tuple[str, ...]] = {
    "face-smiling": ("smiling face", "happy face", "smile"),
    "face-affection": ("affectionate face", "love"),
    "face-tongue": ("face with tongue", "funny face"),
    "face-hand": ("face with hands",),
    "face-neutral-skeptical": ("neutral face", "skeptical face"),
    "face-sleepy": ("sleepy face", "tired face"),
    "face-unwell": ("unwell face", "sick face"),
    "face-hat": ("face with a hat",),
    "face-glasses": ("face with glasses",),
    "face-concerned": ("concerned face", "sad face", "worried face"),
    "face-negative": ("angry face", "negative face"),
    "face-costume": ("costume face", "creature"),
    "cat-face": ("cat face", "cat"),
    "monkey-face": ("monkey face", "monkey"),
    "heart": ("heart", "love"),
    "emotion": ("emotion",),
    "hand-fingers-open": ("hand", "open hand", "gesture"),
    "hand-fingers-partial": ("hand sign", "hand", "gesture"),
    "hand-single-finger": ("pointing finger", "hand", "gesture"),
    "hand-fingers-closed": ("fist", "hand", "gesture"),
    "hands": ("hands", "gesture"),
    "hand-prop": ("hand", "hand holding something"),
    "body-parts": ("body part", "part of the body"),
    "person": ("person", "people"),
    "person-gesture": ("person making a gesture", "person"),
    "person-role": ("profession", "person at work", "job"),
    "person-fantasy": ("fantasy character", "mythical creature"),
    "person-activity": ("person doing something", "activity"),
    "person-sport": ("person doing sport", "athlete", "sport"),
    "person-resting": ("person resting",),
    "family": ("family", "people"),
    "person-symbol": ("symbol of people",),
    "hair-style": ("hair style",),
    "animal-mammal": ("mammal", "animal"),
    "animal-bird": ("bird", "animal"),
    "animal-amphibian": ("amphibian", "animal"),
    "animal-reptile": ("reptile", "animal"),
    "animal-marine": ("marine animal", "sea creature", "animal"),
    "animal-bug": ("bug", "insect", "animal"),
    "plant-flower": ("flower", "plant"),
    "plant-other": ("plant",),
    "food-fruit": ("fruit", "food"),
    "food-vegetable": ("vegetable", "food"),
    "food-prepared": ("prepared food", "cooked meal", "food"),
    "food-asian": ("asian cuisine", "food from asia", "food"),
    "food-marine": ("seafood", "food"),
    "food-sweet": ("sweet food", "dessert", "candy"),
    "drink": ("drink", "beverage"),
    "dishware": ("dishware", "tableware"),
    "place-map": ("map", "globe"),
    "place-geographic": ("landscape", "geographic place"),
    "place-building": ("building", "architecture"),
    "place-religious": ("religious building", "place of worship"),
    "place-other": ("place", "scenery"),
    "transport-ground": ("ground transport", "vehicle"),
    "transport-water": ("water transport", "boat", "ship"),
    "transport-air": ("air transport", "aircraft"),
    "hotel": ("hotel",),
    "time": ("time", "timepiece"),
    "sky-weather": ("weather", "sky"),
    "event": ("event", "celebration"),
    "award-medal": ("award", "medal"),
    "sport": ("sport", "sports gear"),
    "game": ("game", "play"),
    "arts-crafts": ("arts and crafts",),
    "clothing": ("clothing", "clothes"),
    "sound": ("sound",),
    "music": ("music",),
    "musical-instrument": ("musical instrument", "music"),
    "phone": ("phone",),
    "computer": ("computer", "computer equipment"),
    "light-video": ("light and video equipment",),
    "book-paper": ("book", "paper"),
    "money": ("money", "finance"),
    "mail": ("mail", "post"),
    "writing": ("writing", "stationery"),
    "office": ("office supplies", "stationery"),
    "lock": ("lock and key", "security"),
    "tool": ("tool",),
    "science": ("science equipment", "science"),
    "medical": ("medical", "health care"),
    "household": ("household item", "thing at home"),
    "other-object": ("object",),
    "transport-sign": ("transport sign", "sign"),
    "warning": ("warning sign", "sign"),
    "arrow": ("arrow",),
    "religion": ("religious symbol",),
    "zodiac": ("zodiac", "astrological sign"),
    "av-symbol": ("media control", "audio and video symbol"),
    "gender": ("gender symbol",),
    "math": ("mathematical symbol",),
    "punctuation": ("punctuation mark",),
    "currency": ("currency symbol",),
    "other-symbol": ("symbol",),
    "keycap": ("keypad character", "keycap"),
    "alphanum": ("sign with letters", "button"),
    "geometric": ("shape", "geometric figure"),
    "flag": ("flag",),
    "country-flag": ("flag", "country flag"),
    "subdivision-flag": ("flag",),
}
"""The subgroups of Unicode's emoji list in plain English."""


SENSES: dict[str, frozenset[int]] = {
    **dict.fromkeys(("animal-", "monkey-face", "cat-face"), frozenset({ANIMAL_FILE})),
    **dict.fromkeys(("food-", "drink"), frozenset({FOOD_FILE, PLANT_FILE})),
    "plant-": frozenset({PLANT_FILE}),
    **dict.fromkeys(("person-role", "person-fantasy"), frozenset({PERSON_FILE})),
    **dict.fromkeys(("transport-sign", "time", "sky-", "event", "sound", "hotel"), frozenset[int]()),
    **dict.fromkeys(
        """dishware place- transport- award sport game clothing music phone computer light book money mail
        writing office lock tool science medical household""".split(),
        frozenset({ARTIFACT_FILE}),
    ),
    "": frozenset(),
}
"""By the beginning of an emoji's subgroup: the kinds of nouns that its label names."""
