import random
import string
import time

import pytest

from chat.billing import tokens
from chat.billing.tokens import estimate_prompt, estimate_text

TEXTS = {
    "English": (
        "The quick brown fox jumps over the lazy dog, and nobody at the office seemed to mind that it was late again."
    ),
    "chat": "Hi! Can you help me write a short e-mail to my landlord? The heater's been broken since Monday.",
    "German": (
        "Könntest du mir bitte eine höfliche Absage für die Wohnungsbesichtigung am Donnerstagnachmittag schreiben?"
    ),
    "French": "Pourriez-vous m'expliquer la différence entre l'imparfait et le passé composé ? Je n'y comprends rien.",
    "Spanish": (
        "¿Podrías ayudarme a preparar una cena sencilla para seis personas? A los niños no les gustan las verduras."
    ),
    "Russian": (
        "Пожалуйста, объясните, как работает сборщик мусора и почему циклические ссылки приводят к утечкам памяти."
    ),
    "Chinese": "请帮我写一封简短的邮件，告诉房东暖气坏了，从星期一开始家里就很冷。",
    "Japanese": "昨日の会議で決まったことを、箇条書きで三つにまとめてください。",
    "Korean": "어제 회의에서 결정된 내용을 세 가지로 요약해 주세요.",
    "Arabic": "هل يمكنك مساعدتي في كتابة رسالة قصيرة إلى صاحب المنزل بشأن المدفأة المعطلة؟",
    "Hindi": "क्या आप मुझे मकान मालिक को एक छोटा सा ईमेल लिखने में मदद कर सकते हैं?",
    "emoji": "Great 🎉🎉 see you at 8 👨\u200d👩\u200d👧 🇩🇪 👍🏽",
    "Python": (
        "def mean(values: list[float]) -> float:\n    if not values:\n        "
        'raise ValueError("empty")\n    return sum(values) / len(values)\n'
    ),
    "minified JavaScript": (
        '!function(e,t){"use strict";var '
        "n=e.length,r=0;for(;r<n;r++)if(t.call(e[r],r)===!1)break;return e}([],function(){});"
    ),
    "SQL": (
        "SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON "
        "o.user_id = u.id WHERE o.created_at >= '2024-01-01' GROUP BY u.id;"
    ),
    "HTML": '<div class="row"><a href="/about?id=7">About us</a><br/><img src="logo.png" alt=""></div>',
    "JSON": ('{"id": 17, "tags": ["a", "b"], "price": 12.50, "active": true, "owner": {"name": "Ann", "email": null}}'),
    "base64": "TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsuIFJhbmRvbSBieXRlczogn3ZKb0Q4eE1xUzFZ",
    "UUIDs": "7c9e6679-7425-40de-944b-e07fc1f90ae7 f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "digits": "3141592653589793238462643383279502884197169399375105820974944592",
    "whitespace": "a                                        b\n\n\n\n\t\t\t\tc\r\n\r\n\r\n\r\n\r\n\r\n",
    "Markdown table": (
        "| Name | Qty | Price |\n|------|----:|------:|\n| Bolt | 120 | 0.15 € |\n| Nut | 80 | 0.09 € |\n"
    ),
    "URL": "https://shop.example.com/search?q=red+shoes&sort=price_asc&page=2&utm_source=mail#results",
}
# Facts: what cl100k_base, o200k_base and the published Claude vocabulary make of each text.
TRUE_COUNTS = {
    "English": (24, 24, 24),
    "chat": (23, 23, 25),
    "German": (31, 26, 33),
    "French": (29, 24, 36),
    "Spanish": (29, 24, 35),
    "Russian": (53, 27, 61),
    "Chinese": (43, 28, 38),
    "Japanese": (33, 24, 33),
    "Korean": (23, 16, 28),
    "Arabic": (53, 19, 69),
    "Hindi": (64, 21, 72),
    "emoji": (35, 25, 34),
    "Python": (30, 32, 35),
    "minified JavaScript": (45, 45, 57),
    "SQL": (40, 40, 47),
    "HTML": (30, 30, 34),
    "JSON": (42, 42, 40),
    "base64": (51, 47, 49),
    "UUIDs": (46, 46, 48),
    "digits": (22, 22, 28),
    "whitespace": (8, 8, 9),
    "Markdown table": (40, 40, 41),
    "URL": (26, 27, 34),
}
# A sparse vocabulary is much dearer in these scripts than a rich one, and the estimate must serve both.
COSTLY_SCRIPTS = {"Russian", "Chinese", "Korean", "Arabic", "Hindi"}

ALPHABETS = {
    "letters": string.ascii_letters,
    "printable": string.printable,
    "blank": " \t\r\n",
    "latin": "aeiouéüßñ ",
    "any": "a9 -\n\x00é我カ한ह🎉\u200d\ufffd\ud800\udfff",
}


def user(*contents: str) -> list[str]:
    return list(contents)


def random_texts(alphabet: str, count: int = 200) -> list[str]:
    rng = random.Random(20)
    return ["".join(rng.choices(alphabet, k=rng.randint(0, 60))) for _ in range(count)]


class TestAgainstTrueCounts:
    @pytest.mark.parametrize("kind", TEXTS)
    def test_is_never_below_any_of_the_vocabularies(self, kind: str) -> None:
        assert estimate_text(TEXTS[kind]) >= max(TRUE_COUNTS[kind])

    @pytest.mark.parametrize("kind", TEXTS)
    def test_is_not_wildly_above_the_dearest_vocabulary(self, kind: str) -> None:
        ceiling = 3 if kind == "whitespace" else 2

        assert estimate_text(TEXTS[kind]) <= ceiling * max(TRUE_COUNTS[kind])

    @pytest.mark.parametrize("kind", sorted(set(TEXTS) - COSTLY_SCRIPTS - {"whitespace", "digits"}))
    def test_is_close_to_every_vocabulary_where_they_agree(self, kind: str) -> None:
        assert estimate_text(TEXTS[kind]) <= 2.1 * min(TRUE_COUNTS[kind])

    def test_a_long_text_is_closer_than_its_parts(self) -> None:
        true_count = 50 * max(TRUE_COUNTS["English"])

        assert true_count < estimate_text(TEXTS["English"] * 50) < 1.5 * true_count


class TestShape:
    def test_empty_text_costs_nothing(self) -> None:
        assert estimate_text("") == 0

    @pytest.mark.parametrize("alphabet", ALPHABETS)
    def test_a_longer_text_is_never_cheaper(self, alphabet: str) -> None:
        for text in random_texts(ALPHABETS[alphabet]):
            costs = [estimate_text(text[:end]) for end in range(len(text) + 1)]

            assert costs == sorted(costs), repr(text)

    @pytest.mark.parametrize("alphabet", ALPHABETS)
    def test_a_text_costs_no_less_than_either_half(self, alphabet: str) -> None:
        texts = random_texts(ALPHABETS[alphabet])

        for left, right in zip(texts, reversed(texts), strict=True):
            assert estimate_text(left + right) >= max(estimate_text(left), estimate_text(right)), repr((left, right))

    @pytest.mark.parametrize("alphabet", ALPHABETS)
    def test_is_never_above_the_bytes(self, alphabet: str) -> None:
        for text in random_texts(ALPHABETS[alphabet]):
            assert estimate_text(text) <= len(text.encode("utf-8", "surrogatepass")), repr(text)

    @pytest.mark.parametrize("text", ["\ud800", "\udfff\ud800", "\x00", "\x7f", "\ufeff", "\U0010ffff", "\r"])
    def test_takes_any_string(self, text: str) -> None:
        assert 1 <= estimate_text(text) <= len(text.encode("utf-8", "surrogatepass"))

    def test_every_byte_has_one_price(self) -> None:
        priced = b"".join(tokens.BYTE_PRICES)

        assert len(priced) == len(set(priced))

    def test_only_common_letters_continuations_and_impossible_bytes_are_free(self) -> None:
        free = {byte for byte in range(256) if tokens.PRICE_OF_BYTE[byte] == 0}

        assert free == {*b"acdefghilnoprst", *range(0x80, 0xC2), *range(0xF5, 0x100)}


class TestSpeed:
    @pytest.mark.parametrize("unit", ["a", "aA1", "1", " ", "\n", "-", "a ", "é", "我", "🎉", "'s"])
    def test_doubling_the_text_at_most_doubles_the_price(self, unit: str) -> None:
        assert estimate_text(unit * 20_000) <= 2 * estimate_text(unit * 10_000)

    @pytest.mark.parametrize("unit", ["word ", "a", "0", " ", "我", "x9"])
    def test_two_megabytes_do_not_hold_a_request_up(self, unit: str) -> None:
        text = unit * (2_000_000 // len(unit.encode()))
        started = time.process_time()

        estimate_text(text)

        # Some hundredths of a second in truth; anything worse than linear would take minutes.
        assert time.process_time() - started < 2


class TestPrompt:
    def test_adds_the_wrapping_of_the_message_and_the_reply(self) -> None:
        text = "Explain recursion to me, please."

        assert estimate_prompt(user(text)) == estimate_text(text) + 7

    def test_no_message_costs_the_reply_alone(self) -> None:
        assert estimate_prompt([]) == 3

    def test_every_message_costs_its_wrapping(self) -> None:
        texts = ["Hello there, how are you?"] * 20
        costs = [estimate_prompt(user(*texts[:count])) for count in range(1, 20)]

        assert all(later - earlier >= 4 for earlier, later in zip(costs, costs[1:], strict=False))

    def test_many_short_turns_stay_above_the_sum_of_their_true_counts(self) -> None:
        true_count = sum(4 + max(counts) for counts in TRUE_COUNTS.values()) + 3

        assert estimate_prompt(user(*TEXTS.values())) >= true_count

    @pytest.mark.parametrize("alphabet", ALPHABETS)
    def test_one_more_message_is_never_cheaper(self, alphabet: str) -> None:
        messages = user(*random_texts(ALPHABETS[alphabet], 60))
        costs = [estimate_prompt(messages[:count]) for count in range(len(messages) + 1)]

        assert costs == sorted(set(costs))


class TestStrict:
    def test_is_the_bytes_and_eight_a_message(self) -> None:
        assert estimate_prompt(user("abc", "é🎉"), strict=True) == 3 + 8 + 6 + 8

    def test_takes_half_a_surrogate_pair(self) -> None:
        assert estimate_prompt(user("\ud83d"), strict=True) == 3 + 8

    @pytest.mark.parametrize("alphabet", ALPHABETS)
    def test_is_never_below_the_estimate(self, alphabet: str) -> None:
        texts = random_texts(ALPHABETS[alphabet])

        for left, right in zip(texts, reversed(texts), strict=True):
            messages = user(left, right)
            assert estimate_prompt(messages, strict=True) >= estimate_prompt(messages)
