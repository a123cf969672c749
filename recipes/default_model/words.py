"""Words by category, and names, written for these tasks. Frequent words come from the training books (`lexicon`)."""


def split(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


CATEGORIES: dict[str, tuple[str, ...]] = {
    name: split(words)
    for name, words in {
        "animal": "dog cat horse cow pig sheep goat mouse rat fox wolf bear lion tiger rabbit deer monkey camel donkey "
        "elephant squirrel frog toad snake turtle mole badger otter beaver hedgehog",
        "bird": "hen duck goose swan crow raven eagle hawk owl robin sparrow pigeon dove parrot lark swallow gull stork "
        "wren thrush cuckoo peacock turkey heron",
        "insect": "bee ant fly wasp moth beetle spider cricket butterfly flea gnat hornet worm snail",
        "tree": "oak pine elm ash birch willow maple cedar fir beech palm poplar chestnut holly",
        "flower": "rose lily daisy violet tulip poppy primrose daffodil bluebell buttercup pansy snowdrop marigold",
        "fruit": "apple pear plum cherry grape lemon orange peach fig strawberry banana melon berry apricot currant",
        "vegetable": "potato carrot onion cabbage bean pea turnip beet pumpkin lettuce radish cucumber leek",
        "food": "bread cheese butter meat egg soup cake pie pudding porridge rice honey jam sausage bacon stew salad "
        "biscuit toast",
        "drink": "water milk tea coffee wine beer ale cider lemonade cocoa",
        "garment": "coat hat shirt shoe boot glove sock dress skirt cap cloak scarf belt apron jacket vest bonnet stocking "
        "gown",
        "body part": "hand foot arm leg head eye ear nose mouth knee finger toe neck chin elbow shoulder thumb heel wrist",
        "tool": "hammer saw axe spade shovel rake knife needle nail screw drill chisel hoe plough scythe file pincers anvil",
        "piece of furniture": "table chair bed desk bench stool shelf cupboard sofa cradle wardrobe chest couch",
        "room": "kitchen bedroom hall parlour attic cellar nursery library pantry study",
        "building": "house barn castle church tower mill palace cottage shop inn school hut stable temple prison",
        "job": "baker farmer sailor soldier doctor teacher tailor miller cook smith hunter fisherman shepherd carpenter nurse "
        "painter captain lawyer priest merchant gardener butcher weaver shoemaker",
        "relative": "mother father sister brother uncle aunt cousin nephew niece grandmother grandfather son daughter",
        "metal": "gold silver iron copper tin lead brass steel bronze",
        "colour": "red blue green yellow black white brown grey pink purple orange",
        "vehicle": "cart wagon boat ship train carriage sled bicycle raft canoe ferry coach balloon",
        "instrument": "drum flute fiddle harp horn pipe trumpet bell piano violin guitar whistle organ",
        "kind of weather": "rain snow wind storm fog hail frost thunder mist sunshine",
        "toy": "doll ball kite top marble puppet hoop rattle",
        "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        "month": "January February March April May June July August September October November December",
        "container": "box basket cup jar bottle bag bucket barrel sack bowl pot purse jug",
        "shape": "circle square triangle line star cross ring cube",
        "feeling": "joy anger fear sorrow love hate hope pride shame pity envy grief",
    }.items()
}

NAMES = split(
    "Tom Anna Peter Mary Jack Ella Sam Ruth Ben Lucy Will Kate Paul Rose Hugh Nell Fred Jane Mark Emma Dick Clara Ned Grace "
    "George Alice Henry Sarah Robert Helen Philip Bess Simon Laura Martin Polly Walter Dora Oliver Nora"
)
SURNAMES = split(
    "Brown Smith Hill Green Wood Baker Cooper Ford Grey Hunter Marsh Miller North Page Reed Stone Turner Vale West Young "
    "Barker Cole Dale Ellis Frost Hart Lane Moor Nash Price"
)
PLACES = split(
    "garden kitchen barn forest market school river mill castle church cellar attic meadow stable village harbour orchard hall "
    "library cave field tower shop wood"
)
THINGS = split(
    "ball book key lamp rope knife cup box ring coin stick basket bell candle drum flute letter map mirror spoon sword "
    "umbrella watch whistle bottle brush hat kettle"
)
BIG_AND_SMALL = split("big small old new heavy light long short")
COLOURS = CATEGORIES["colour"]
GOOD = split("happy glad merry kind lovely good sweet bright cheerful delightful pleasant fine beautiful jolly")
BAD = split("sad angry cruel ugly bad bitter gloomy wicked dreadful unpleasant nasty horrid miserable terrible")
NUMBER_WORDS = split(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
)
