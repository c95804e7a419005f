"""The words of the authored English and Chinese: what each is in both languages, and what may stand with what.

One English word may be two Chinese ones: a book is old (旧) in another way than a horse (老), and what one counts with
(一本书, 一匹马) depends on the noun. One Chinese word may be two English ones: 在 is "is" and "in".
"""

from typing import NamedTuple


class Noun(NamedTuple):
    """Tags say which verbs and adjectives fit; the measure word stands between a number or 这, 那 and the noun."""

    singular: str
    plural: str
    chinese: str
    measure: str
    tags: frozenset[str]


class Adjective(NamedTuple):
    """As Chinese says it before a noun, and after it, where it takes 很 (very, here without force) or 是 (is)."""

    english: str
    attribute: str
    copula: str
    predicate: str
    tags: frozenset[str]


class Verb(NamedTuple):
    """The forms, and the tags of who does it and of what it is done to.

    `particle` stands after the English verb (throw away). The kind is "plain", "alone" (done to nothing), "state", or
    one of those that have a passive: "affecting", "disposal", "transfer". Verbs of the last two say what becomes of a
    thing, and Chinese puts the thing before them, with 把; only a transfer has a recipient.
    """

    base: str
    third: str
    past: str
    participle: str
    ing: str
    particle: str
    chinese: str
    kind: str
    agents: frozenset[str]
    patients: frozenset[str]


class Determiner(NamedTuple):
    """`measured`: the noun's measure word follows."""

    english: str
    plural: bool
    chinese: str
    measured: bool


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().split("\n")]


def _tags(cell: str) -> frozenset[str]:
    return frozenset(cell.split())


# "the" is a bare noun, which is definite before the verb; after it a bare noun is generic, an English bare plural.
DETERMINERS = {
    english: Determiner(english, number == "plural", chinese, measure == "measure")
    for english, number, chinese, measure in _rows("""
        a       | singular | 一   | measure
        the     | singular |      |
        this    | singular | 这   | measure
        that    | singular | 那   | measure
        these   | plural   | 这些 |
        those   | plural   | 那些 |
        two     | plural   | 两   | measure
        three   | plural   | 三   | measure
        many    | plural   | 很多 |
        generic | plural   |      |
    """)
}

NOUNS = {
    singular: Noun(singular, plural, chinese, measure, _tags(tags))
    for singular, plural, chinese, measure, tags in _rows("""
        teacher   | teachers   | 老师   | 位 | person
        doctor    | doctors    | 医生   | 位 | person
        writer    | writers    | 作家   | 位 | person
        student   | students   | 学生   | 个 | person
        child     | children   | 孩子   | 个 | person
        worker    | workers    | 工人   | 个 | person
        farmer    | farmers    | 农民   | 个 | person
        neighbour | neighbours | 邻居   | 个 | person
        cat       | cats       | 猫     | 只 | animal sized aging
        dog       | dogs       | 狗     | 只 | animal sized aging biting
        bird      | birds      | 鸟     | 只 | animal sized
        mouse     | mice       | 老鼠   | 只 | animal sized
        horse     | horses     | 马     | 匹 | animal aging biting
        snake     | snakes     | 蛇     | 条 | animal sized biting
        letter    | letters    | 信     | 封 | portable paper written
        novel     | novels     | 小说   | 本 | portable goods written
        book      | books      | 书     | 本 | portable goods written
        poem      | poems      | 诗     | 首 | written
        newspaper | newspapers | 报纸   | 份 | portable goods paper news
        map       | maps       | 地图   | 张 | portable goods paper pretty
        photo     | photos     | 照片   | 张 | portable paper pretty
        coat      | coats      | 大衣   | 件 | portable goods clothes washable pretty coloured
        shirt     | shirts     | 衬衫   | 件 | portable goods clothes washable pretty coloured
        skirt     | skirts     | 裙子   | 条 | portable goods clothes washable pretty coloured
        umbrella  | umbrellas  | 雨伞   | 把 | portable goods tool machine coloured
        key       | keys       | 钥匙   | 把 | portable tool sized
        knife     | knives     | 刀     | 把 | portable goods tool washable
        chair     | chairs     | 椅子   | 把 | goods machine sized coloured
        table     | tables     | 桌子   | 张 | goods machine sized coloured
        cup       | cups       | 杯子   | 个 | portable goods tool washable fragile sized coloured
        bag       | bags       | 包     | 个 | portable goods tool sized coloured
        box       | boxes      | 盒子   | 个 | portable goods tool opening sized coloured
        computer  | computers  | 电脑   | 台 | goods tool machine
        bicycle   | bicycles   | 自行车 | 辆 | goods machine washable coloured
        car       | cars       | 汽车   | 辆 | goods machine washable coloured
        window    | windows    | 窗户   | 扇 | opening fragile sized
        door      | doors      | 门     | 扇 | opening coloured
        apple     | apples     | 苹果   | 个 | food sized
        egg       | eggs       | 鸡蛋   | 个 | food sized
        banana    | bananas    | 香蕉   | 根 | food sized
        cake      | cakes      | 蛋糕   | 个 | food sized
    """)
}

ANY = frozenset().union(*(noun.tags for noun in NOUNS.values()))

# Adjectives of one syllable stand before the noun as they are, the others with 的.
ADJECTIVES = tuple(
    Adjective(english, attribute, copula, predicate, _tags(tags))
    for english, attribute, copula, predicate, tags in _rows("""
        old         | 旧     | 很 | 旧     | goods paper
        old         | 老     | 很 | 老     | aging
        new         | 新     | 很 | 新     | goods
        big         | 大     | 很 | 大     | sized
        small       | 小     | 很 | 小     | sized
        red         | 红色的 | 是 | 红色的 | coloured
        white       | 白色的 | 是 | 白色的 | coloured animal
        black       | 黑色的 | 是 | 黑色的 | coloured animal
        expensive   | 很贵的 | 很 | 贵     | goods
        beautiful   | 漂亮的 | 很 | 漂亮   | pretty animal
        interesting | 有趣的 | 很 | 有趣   | written news
        young       | 年轻的 | 很 | 年轻   | person
        clever      | 聪明的 | 很 | 聪明   | person
        brave       | 勇敢的 | 很 | 勇敢   | person
        friendly    | 友好的 | 很 | 友好   | person
    """)
)

PASSIVE = ("affecting", "disposal", "transfer")
BA = ("disposal", "transfer")
# The tenses that each kind of verb has.
KINDS = {
    "plain": ("past", "perfect", "progressive", "present", "future"),
    "alone": ("past", "progressive", "present", "future"),
    "state": ("present",),
    "affecting": ("past", "perfect", "future"),
    "disposal": ("past", "future"),
    "transfer": ("past", "future"),
}
_VERBS = {
    "plain": """
        buy buys bought bought buying                          |      | 买     | person        | goods food
        read reads read read reading                           |      | 读     | person        | written news
        write writes wrote written writing                     |      | 写     | person        | written
        use uses used used using                               |      | 用     | person        | tool
        eat eats ate eaten eating                              |      | 吃     | person animal | food
        draw draws drew drawn drawing                          |      | 画     | person        | person animal machine
        try tries tried tried trying                           | on   | 试穿   | person        | clothes
        help helps helped helped helping                       |      | 帮助   | person        | person
        visit visits visited visited visiting                  |      | 拜访   | person        | person
        look looks looked looked looking                       | for  | 找     | person        | person animal portable
        chase chases chased chased chasing                     |      | 追     | animal        | person animal
    """,
    "alone": """
        sleep sleeps slept slept sleeping                      |      | 睡觉   | person animal |
        sing sings sang sung singing                           |      | 唱歌   | person        |
        dance dances danced danced dancing                     |      | 跳舞   | person        |
        run runs ran run running                               |      | 跑步   | person        |
        swim swims swam swum swimming                          |      | 游泳   | person        |
        cry cries cried cried crying                           |      | 哭     | person        |
        laugh laughs laughed laughed laughing                  |      | 笑     | person        |
    """,
    "state": """
        like likes liked liked liking                          |      | 喜欢   | person        | any
        hate hates hated hated hating                          |      | 讨厌   | person        | any
        need needs needed needed needing                       |      | 需要   | person        | person goods tool
        trust trusts trusted trusted trusting                  |      | 相信   | person        | person
        fear fears feared feared fearing                       |      | 怕     | person animal | animal
    """,
    "affecting": """
        see sees saw seen seeing                               |      | 看见   | person animal | any
        find finds found found finding                         |      | 找到   | person        | animal portable
        praise praises praised praised praising                |      | 表扬   | person        | person
        criticise criticises criticised criticised criticising |      | 批评   | person        | person
        fool fools fooled fooled fooling                       |      | 骗     | person        | person
        bite bites bit bitten biting                           |      | 咬     | biting        | person animal
        catch catches caught caught catching                   |      | 抓住   | person animal | animal
    """,
    "disposal": """
        throw throws threw thrown throwing                     | away | 扔掉   | person        | portable goods food
        take takes took taken taking                           | away | 拿走   | person        | portable food
        tear tears tore torn tearing                           | up   | 撕碎   | person        | paper
        eat eats ate eaten eating                              | up   | 吃掉   | person animal | food
        sell sells sold sold selling                           |      | 卖掉   | person        | goods
        steal steals stole stolen stealing                     |      | 偷走   | person        | goods portable food
        borrow borrows borrowed borrowed borrowing             |      | 借走   | person        | goods
        hide hides hid hidden hiding                           |      | 藏起来 | person        | portable
        lose loses lost lost losing                            |      | 弄丢   | person        | portable
        burn burns burned burned burning                       |      | 烧掉   | person        | paper written
        repair repairs repaired repaired repairing             |      | 修好   | person        | machine
        break breaks broke broken breaking                     |      | 打破   | person animal | fragile
        wash washes washed washed washing                      |      | 洗干净 | person        | washable
        open opens opened opened opening                       |      | 打开   | person        | opening
        close closes closed closed closing                     |      | 关上   | person        | opening
    """,
    "transfer": """
        give gives gave given giving                           | to   | 送     | person        | portable goods
        return returns returned returned returning             | to   | 还     | person        | portable goods
        lend lends lent lent lending                           | to   | 借     | person        | portable goods
        hand hands handed handed handing                       | to   | 递     | person        | portable
    """,
}


def _verb(kind: str, forms: str, particle: str, chinese: str, agents: str, patients: str) -> Verb:
    base, third, past, participle, ing = forms.split()
    affected = ANY if patients == "any" else _tags(patients)
    return Verb(base, third, past, participle, ing, particle, chinese, kind, _tags(agents), affected)


VERBS = {
    f"{forms.split()[0]} {particle}".strip(): _verb(kind, forms, particle, *rest)
    for kind, table in _VERBS.items()
    for forms, particle, *rest in _rows(table)
}

TIMES = {  # the tense, and in Chinese, word by word
    "yesterday": ("past", "昨天"),
    "this morning": ("past", "今天早上"),
    "last week": ("past", "上个星期"),
    "tomorrow": ("future", "明天"),
    "this evening": ("future", "今天晚上"),
    "next week": ("future", "下个星期"),
    "now": ("progressive", "现在"),
    "every day": ("present", "每天 都"),
    "every weekend": ("present", "每个周末 都"),
}
PLACES = {  # in Chinese after 在
    "at home": "家",
    "at the station": "车站",
    "at the market": "市场",
    "at the hospital": "医院",
    "in the library": "图书馆",
    "in the park": "公园",
    "in the classroom": "教室里",
    "in the garden": "花园里",
    "in the kitchen": "厨房里",
}
