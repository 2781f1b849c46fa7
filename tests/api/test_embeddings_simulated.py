"""The simulator's vectors, by OpenAI's own package."""

from __future__ import annotations

import math

import openai
import pytest

from tests.support.sdks import openai_client

pytestmark = pytest.mark.django_db(transaction=True)


def near(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_simulated_vectors_are_near_where_texts_are(live_server, token):
    with openai_client(live_server.url, token, max_retries=0) as client:

        def made(given, **options):
            answer = client.embeddings.create(model="text-embedding-3-small", input=given, **options)
            return [item.embedding for item in answer.data]

        cat, kitten, physics = made(["The cat sat on the mat.", "On the mat sat a cat!", "Quantum chromodynamics"])
        assert len(cat) == 1_536
        assert near(cat, kitten) > 0.6 > 0.2 > abs(near(cat, physics))
        for vectors in ([cat], made("?!"), made([1, 2, 3], dimensions=7), made("a b", dimensions=1)):
            assert math.isclose(near(vectors[0], vectors[0]), 1, abs_tol=1e-5)
        assert len(made("Hello!", dimensions=7)[0]) == 7
        whole = made("Hello!", encoding_format="float")[0]
        assert made("Hello!")[0] == pytest.approx(whole, abs=1e-7)
        with pytest.raises(openai.InternalServerError) as caught:
            made("/fault outage")
        assert caught.value.code == "provider_unavailable"
        with pytest.raises(openai.BadRequestError) as refused:
            made("/fault rejected")
        assert refused.value.param == "input"
        with pytest.raises(openai.BadRequestError) as unknown:
            made("Hello!", extra_body={"tomorrow": 1})
        assert (unknown.value.code, unknown.value.param) == ("unsupported_parameter", "tomorrow")
