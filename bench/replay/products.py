"""The catalog that the sales imply: one product per SKU, its category derived from its name."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from bench.replay.facts import Sale

Counted = TypeVar("Counted", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A shelf of the shop; `keywords` are the words that put a product there."""

    slug: str
    name: str
    keywords: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the shop sells under one SKU; `price_minor` is the price it sold at most often."""

    sku: str
    name: str
    category: str
    price_minor: int


def _category(slug: str, name: str, keywords: str) -> Category:
    return Category(slug=slug, name=name, keywords=frozenset(keywords.split()))


# Derived, not the shop's own: the first category with a keyword among the words of the name wins,
# so the occasions and materials that override a shape come first.
CATEGORIES = (
    _category(
        "christmas",
        "Christmas",
        "CHRISTMAS XMAS ADVENT SANTA REINDEER SNOWFLAKE SNOWMAN NATIVITY NOEL BAUBLE STOCKING",
    ),
    _category(
        "jewellery",
        "Jewellery",
        "BRACELET EARRING NECKLACE BROOCH BANGLE JEWELLERY PENDANT TIARA BLING CHARM DIAMANTE"
        " HAIR RING CHOKER KEYRING HAIRCLIP SCARF",
    ),
    _category(
        "candles-and-lights",
        "Candles and lights",
        "CANDLE T-LIGHT TLIGHT LIGHT LANTERN LAMP LAMPSHADE INCENSE CANDLESTICK VOTIVE"
        " CHANDELIER NIGHTLIGHT LIGHTHOUSE CANDLEHOLDER MATCHES LIGHTBULB TORCH",
    ),
    _category(
        "bags",
        "Bags and purses",
        "BAG PURSE HANDBAG WASHBAG SHOPPER TOTE RUCKSACK BACKPACK LUGGAGE WALLET PASSPORT HOLDALL SATCHEL CHARLOTTE",
    ),
    _category(
        "party",
        "Party and celebration",
        "PARTY BUNTING BALLOON BIRTHDAY PARASOL GARLAND CONFETTI EASTER CELEBRATION WEDDING HONEYCOMB STRAW TABLECLOTH",
    ),
    _category(
        "stationery",
        "Stationery and gift wrap",
        "CARD NOTEBOOK PEN PENCIL WRAP GIFT PAPER STICKER STATIONERY SKETCHBOOK RIBBON TAPE"
        " TAG ENVELOPE ERASER JOTTER CALENDAR NOTE POSTCARD BOOK RULER MAGNET SCRAPBOOK CHALK"
        " POSTAGE STAMP JOURNAL NOTEPAD",
    ),
    _category(
        "kitchen",
        "Kitchen and dining",
        "CAKE MUG TEA COFFEE PLATE BOWL CUP TEACUP SAUCER TEAPOT JAM BAKING CUTLERY KITCHEN"
        " LUNCH NAPKIN DOILIES DOILY COASTER PANTRY BISCUIT FOOD RECIPE BREAD EGG CAKESTAND"
        " SPOON FORK CHOPPING APRON TRAY COOKIE JELLY MOULD JUG BOTTLE GLASS DRINK WINE MILK"
        " SUGAR SPICE CAN FRYING MEASURING PAN COSY PLACEMAT SNACK BREAKFAST BAKELIKE GLOVE"
        " MITT WHISK BEAKER TUMBLER POPCORN PICNIC CASE COLANDER TOASTRACK",
    ),
    _category(
        "toys",
        "Toys and children",
        "TOY DOLL DOLLY JIGSAW PUZZLE CHILDREN CHILD KID GAME SPACEBOY SKIPPING BLOCK DOMINOES"
        " SOLDIER DINOSAUR PLAYING SNAKE MAGIC CIRCUS FELTCRAFT DRAUGHT RABBIT BABY NURSERY"
        " ROBOT PUPPET SPINNING GLIDER CRAYON MARBLE COLOURING TEDDY STENCIL PAINT RADIO"
        " HELICOPTER",
    ),
    _category(
        "garden",
        "Garden",
        "GARDEN PLANT PLANTER FLOWERPOT WATERING HERB BIRD BIRDHOUSE SEED GNOME TROWEL"
        " GARDENING GARDENER BUCKET NESTING HUMMING POT GREENHOUSE WINDMILL TOADSTOOL KNEELING"
        " HAMMOCK",
    ),
    _category(
        "bath-and-care",
        "Bath and care",
        "SOAP TOWEL BATHROOM BATH FLANNEL TISSUE HOT-WATER WATER MANICURE SPONGE SHOWER"
        " HANDWARMER WARMER PLASTER TOILET COMPACT MASSAGE TALC LAVENDER SLIPPER",
    ),
    _category(
        "home-decor",
        "Home decor",
        "HEART HANGING DECORATION SIGN CLOCK FRAME MIRROR CUSHION COVER DOORMAT HOOK HANGER"
        " KNOB DRAWER DOORSTOP WALL WREATH VASE ART PHOTO PICTURE CABINET STORAGE BOX BOXES TIN"
        " BASKET ORNAMENT TRINKET QUILT THROW RUG STOOL CHAIR TABLE SHELF RACK CHEST LETTER"
        " CURTAIN BIN DOOR TILE HOLDER JAR DISH METAL ZINC WOODEN CERAMIC CRYSTAL FLOWER STAND"
        " BUTTERFLY UMBRELLA PRINT PAPERWEIGHT CHALKBOARD BLACKBOARD WICKER POUFFE",
    ),
)
OTHER_CATEGORY = Category(slug="other", name="Other", keywords=frozenset())

_WORD = re.compile(r"[A-Z][A-Z-]*[A-Z]")


def products(sales: Iterable[Sale], descriptions: Mapping[str, Counter[str]]) -> tuple[Product, ...]:
    """Return the products that were sold, by SKU, each named as most of its lines name it."""
    prices: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for sale in sales:
        for line in sale.lines:
            prices[line.sku][line.unit_price_minor] += 1
    return tuple(_product(sku, descriptions.get(sku), _most_common(counted)) for sku, counted in sorted(prices.items()))


def category_of(name: str) -> Category:
    """Return the first category that a word of the name belongs to."""
    words = {form for word in _WORD.findall(name.upper()) for form in (word, word.rstrip("S"))}
    return next(
        (category for category in CATEGORIES if not category.keywords.isdisjoint(words)),
        OTHER_CATEGORY,
    )


def _product(sku: str, descriptions: Counter[str] | None, price_minor: int) -> Product:
    name = _most_common(descriptions) if descriptions else sku
    return Product(sku=sku, name=name, category=category_of(name).slug, price_minor=price_minor)


def _most_common(counted: Counter[Counted]) -> Counted:
    # Ties go to the smallest, so that the order of the rows does not matter.
    return min(counted, key=lambda value: (-counted[value], value))
