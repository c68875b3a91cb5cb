import pytest
from stub_engine import event, piece, usage

from conclave_executor.answer import Answer, ErrorChunk, MalformedChunk


def answer(*pieces: bytes, choices: int = 1) -> Answer:
    answer = Answer(choices)
    for data in pieces:
        answer.take(data.removeprefix(b"data: ").strip())
    return answer


def test_choices_are_put_together_by_their_index() -> None:
    pieces = (piece("b", 1), piece("a", 0), piece("B", 1, "length"), piece("A", 0), piece(None, 0, "stop"), usage(4))
    completed = answer(*pieces, choices=2).completed()
    assert completed["object"] == "chat.completion"
    assert completed["usage"] == {"prompt_tokens": 9, "completion_tokens": 4}
    assert completed["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "aA"},
            "logprobs": None,
            "finish_reason": "stop",
            "tokens": 2,
        },
        {
            "index": 1,
            "message": {"role": "assistant", "content": "bB"},
            "logprobs": None,
            "finish_reason": "length",
            "tokens": 2,
        },
    ]


def test_reasoning_is_apart_and_its_logprobs_are_left_out() -> None:
    def entry(value: float) -> dict[str, object]:
        return {"content": [{"token": "t", "logprob": value, "top_logprobs": []}]}

    taken = answer(
        piece("", role="assistant"),
        piece(None, reasoning_content="hm", logprobs=entry(-1)),
        piece(None, reasoning="m", reasoning_content="m"),
        piece("42", logprobs=entry(-0.5)),
    )
    [choice] = taken.completed()["choices"]
    assert choice["message"] == {"role": "assistant", "content": "42", "reasoning_content": "hmm"}
    assert choice["logprobs"] == entry(-0.5)
    # What the server does not count is counted by what was seen.
    assert taken.tokens == 3


def test_tokens_are_those_that_the_server_counts_for_each_choice() -> None:
    def counted(index: int, text: str, tokens: int) -> bytes:
        delta = {"choices": [{"index": index, "delta": {"content": text}}], "usage": {"completion_tokens": tokens}}
        return event(delta)

    taken = answer(counted(0, "a", 3), counted(1, "b", 1), counted(0, "c", 4), choices=2)
    # So far, as for an answer that is cancelled.
    assert taken.tokens == 5
    taken.take(usage(9).removeprefix(b"data: "))
    assert taken.tokens == 9
    assert [choice["tokens"] for choice in taken.completed()["choices"]] == [4, 1]
    assert taken.completed()["usage"]["completion_tokens"] == 9
    # One choice alone: what its last piece says is the usage of all.
    assert answer(counted(0, "a", 3)).completed()["usage"] == {"completion_tokens": 3}


def test_news_are_told_once() -> None:
    taken = answer(piece("It "), piece("is"), piece("x", 1), piece(None, reasoning="hm"))
    assert taken.has_news
    assert taken.news() == [{"index": 0, "tokens": 3, "text": "It is"}, {"index": 1, "tokens": 1, "text": "x"}]
    assert not taken.has_news
    assert taken.news() == []


def test_it_is_finished_when_all_choices_are() -> None:
    taken = answer(piece("a", 0, "stop"), choices=2)
    assert not taken.is_finished
    taken.take(piece("b", 1, "stop").removeprefix(b"data: "))
    assert taken.is_finished


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b'{"error":{"message":"no","code":429}}', 429),
        (b'{"error":{"message":"no","code":"404"}}', 404),
        (b'{"error":"no"}', 500),
        (b'{"error":{"code":"server_error"}}', 500),
        (b'{"object":"error","message":"no","code":400}', 400),
        (b'{"error":{"code":7}}', 500),
    ],
)
def test_an_error_in_a_stream_has_the_status_of_its_code(data: bytes, status: int) -> None:
    with pytest.raises(ErrorChunk) as caught:
        Answer(1).take(data)
    assert caught.value.status == status
    assert caught.value.text == data.decode()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"7",
        b'{"choices":7}',
        b'{"choices":[7]}',
        b'{"choices":[{"delta":7}]}',
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"choices":[{"index":"x","delta":{}}]}',
        b'{"choices":[{"delta":{"content":"x"},"logprobs":[1]}]}',
        b'{"choices":[],"usage":7}',
        b'{"choices":[{"delta":{"content":NaN}}]}',
    ],
)
def test_what_is_no_chunk_is_malformed_and_is_not_quoted(data: bytes) -> None:
    with pytest.raises(MalformedChunk, match="its JSON"):
        Answer(1).take(data)
