"""Word forms and pairs of words, written for these tasks: plurals, past forms, opposites and others."""

from recipes.default_model.words import CATEGORIES, split


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """ "a/b c/d" -> (("a", "b"), ("c", "d"))."""
    return tuple((pair.split("/")[0], pair.split("/")[1]) for pair in text.split())


VOWELS = "aeiou"


def plural(noun: str) -> str:
    """The regular plural."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def with_ending(verb: str, ending: str) -> str:
    """A verb with a regular -ed or -ing: the last consonant is doubled (`DOUBLED`), a silent e is dropped."""
    if verb.endswith("ee") and ending == "ing":
        return verb + ending
    if verb.endswith("e"):
        return (verb[:-1] if ending == "ing" or ending.startswith("e") else verb) + ending
    if ending == "ed" and verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    if verb in DOUBLED:
        return verb + verb[-1] + ending
    return verb + ending


def third_person(verb: str) -> str:
    """he walks, she goes, it flies."""
    return "has" if verb == "have" else verb + "es" if verb in ("go", "do") else plural(verb)


DOUBLED = frozenset(
    split(
        "stop plan drop beg rob hop slip step trap wrap clap nod run sit cut put let hit get begin win swim dig shut set "
        "spin forget grin drag hug pat rub scrub skip tap tip trim chop"
    )
)
IRREGULAR_PAST = _pairs(
    "go/went see/saw come/came take/took give/gave make/made find/found know/knew think/thought say/said tell/told get/got "
    "run/ran sit/sat stand/stood hear/heard bring/brought buy/bought catch/caught teach/taught fall/fell feel/felt keep/kept "
    "sleep/slept leave/left lose/lost meet/met sell/sold send/sent spend/spent build/built hold/held begin/began sing/sang "
    "drink/drank swim/swam ring/rang speak/spoke break/broke steal/stole wake/woke write/wrote ride/rode rise/rose drive/drove "
    "eat/ate fly/flew grow/grew throw/threw blow/blew draw/drew wear/wore tear/tore swear/swore bear/bore shake/shook "
    "forget/forgot choose/chose freeze/froze fight/fought seek/sought hide/hid bite/bit slide/slid shine/shone win/won dig/dug "
    "hang/hung stick/stuck strike/struck swing/swung sting/stung spin/spun feed/fed lead/led bleed/bled read/read shoot/shot "
    "become/became understand/understood creep/crept sweep/swept weep/wept bend/bent lend/lent mean/meant deal/dealt "
    "kneel/knelt pay/paid lay/laid have/had do/did"
)
REGULAR_VERBS = split(
    "walk talk look call ask answer help jump play work wait want need open close turn move live love like hope laugh cry "
    "smile shout whisper listen follow push pull carry climb dance cook wash clean paint plant pick kick touch join start "
    "finish stop plan drop beg nod clap step slip wrap use save serve share change chase dress learn thank visit watch wish "
    "wonder worry hurry marry study try pray melt burn boil bake brush comb count fill float gather greet guess hunt kiss "
    "knock lock mend march pack pass point pour press promise reach remember return roll rush sail search smell smoke "
    "sneeze stare stay tap taste tie tremble wander whistle yawn"
)
VERBS = (*(base for base, _ in IRREGULAR_PAST), *REGULAR_VERBS)
PAST = (*IRREGULAR_PAST, *((verb, with_ending(verb, "ed")) for verb in REGULAR_VERBS))
_NO_ING = {"lie", "die", "tie"}
ING = tuple((verb, with_ending(verb, "ing")) for verb in VERBS if verb not in _NO_ING)
THIRD_PERSON = tuple((verb, third_person(verb)) for verb in VERBS)
IRREGULAR_PLURALS = _pairs(
    "man/men woman/women child/children foot/feet tooth/teeth goose/geese mouse/mice ox/oxen knife/knives wife/wives "
    "leaf/leaves life/lives wolf/wolves shelf/shelves loaf/loaves thief/thieves half/halves calf/calves scarf/scarves "
    "elf/elves fisherman/fishermen sheep/sheep deer/deer fish/fish potato/potatoes tomato/tomatoes hero/heroes"
)
_COUNTED = (
    "animal", "bird", "insect", "tree", "flower", "fruit", "vegetable", "garment", "tool", "piece of furniture", "building",
    "job", "relative", "vehicle", "instrument", "toy", "container", "body part",
)  # fmt: skip
_IRREGULAR = {singular for singular, _ in IRREGULAR_PLURALS} | {"pincers", "file"}
PLURALS = (
    *IRREGULAR_PLURALS,
    *((noun, plural(noun)) for name in _COUNTED for noun in CATEGORIES[name] if noun not in _IRREGULAR),
)
OPPOSITES = _pairs(
    "hot/cold big/small up/down good/bad old/young new/old fast/slow high/low long/short wet/dry hard/soft rich/poor "
    "light/dark happy/sad early/late open/shut full/empty clean/dirty strong/weak right/wrong left/right day/night in/out "
    "on/off near/far first/last before/after above/below over/under inside/outside begin/end give/take buy/sell come/go "
    "push/pull love/hate laugh/cry win/lose friend/enemy man/woman boy/girl king/queen summer/winter north/south east/west "
    "morning/evening black/white heaven/hell life/death war/peace truth/lie question/answer always/never everything/nothing "
    "many/few more/less most/least all/none yes/no true/false alive/dead asleep/awake brave/cowardly cheap/dear "
    "clever/stupid cruel/kind deep/shallow difficult/easy fat/thin heavy/light loud/quiet narrow/wide noisy/silent "
    "proud/humble quick/slow rough/smooth sharp/blunt sick/well sweet/sour tall/short thick/thin ugly/beautiful wild/tame "
    "wise/foolish gentle/fierce lazy/busy polite/rude safe/dangerous straight/crooked tight/loose warm/cool remember/forget "
    "find/lose arrive/leave rise/fall build/destroy raise/lower add/subtract borrow/lend catch/throw float/sink freeze/melt "
    "hide/show praise/blame save/waste start/stop together/apart forward/backward top/bottom front/back upstairs/downstairs "
    "husband/wife father/mother brother/sister uncle/aunt master/servant teacher/pupil hero/coward giant/dwarf city/village "
    "sea/land sun/moon fire/water"
)
ANTONYM_PREFIX = split(
    "happy kind able fair known seen told easy common certain clean safe true wise just like pleasant willing grateful "
    "healthy lucky tidy usual welcome worthy"
)
COMPARATIVES = (
    *_pairs("good/better bad/worse little/less many/more far/farther big/bigger hot/hotter thin/thinner fat/fatter wet/wetter"),
    *_pairs("red/redder sad/sadder happy/happier heavy/heavier easy/easier early/earlier pretty/prettier angry/angrier"),
    *_pairs("busy/busier dirty/dirtier lazy/lazier merry/merrier ugly/uglier noisy/noisier large/larger wise/wiser"),
    *_pairs("nice/nicer fine/finer brave/braver wide/wider late/later safe/safer strange/stranger pale/paler"),
    *(
        (word, word + "er")
        for word in split(
            "tall small old young new fast slow high low long short hard soft rich poor light dark strong weak cold "
            "warm cool deep loud quick sharp sweet thick kind proud clean bright clear dear near great fresh rough smooth"
        )
    ),
)
MALE_FEMALE = _pairs(
    "king/queen prince/princess man/woman boy/girl father/mother brother/sister son/daughter uncle/aunt nephew/niece "
    "grandfather/grandmother husband/wife lord/lady duke/duchess count/countess wizard/witch actor/actress host/hostess "
    "lion/lioness tiger/tigress bull/cow ram/ewe cock/hen gander/goose drake/duck stag/doe gentleman/lady monk/nun "
    "hero/heroine bridegroom/bride widower/widow god/goddess emperor/empress heir/heiress he/she him/her his/hers"
)
YOUNG = _pairs(
    "dog/puppy cat/kitten cow/calf horse/foal sheep/lamb pig/piglet hen/chick duck/duckling goose/gosling goat/kid bear/cub "
    "lion/cub fox/cub wolf/cub deer/fawn frog/tadpole swan/cygnet owl/owlet eagle/eaglet seal/pup kangaroo/joey hare/leveret "
    "man/child butterfly/caterpillar"
)
SOUNDS = _pairs(
    "dog/bark cat/mew cow/moo horse/neigh sheep/bleat pig/grunt hen/cluck duck/quack lion/roar mouse/squeak wolf/howl "
    "frog/croak bee/buzz owl/hoot snake/hiss donkey/bray crow/caw bird/sing bear/growl cock/crow dove/coo"
)
MAKERS = _pairs(
    "baker/bread tailor/coat shoemaker/shoe carpenter/table miller/flour smith/horseshoe painter/picture weaver/cloth "
    "poet/poem potter/jug cook/dinner writer/book farmer/corn gardener/flower hunter/game fisherman/fish builder/house "
    "brewer/beer"
)
PLACES_OF = _pairs(
    "horse/stable bird/nest bee/hive dog/kennel pig/sty cow/barn king/palace monk/monastery sailor/ship soldier/camp "
    "farmer/farm miller/mill priest/church teacher/school pupil/school prisoner/prison actor/theatre fish/water "
    "rabbit/burrow spider/web bear/den fox/den lion/den ant/hill hen/coop sheep/fold cook/kitchen judge/court"
)
