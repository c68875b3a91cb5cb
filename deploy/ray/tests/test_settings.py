import json
import os
import subprocess
import sys

import pytest
from parts import PACKAGE

from conclave_executor.settings import Credentials, SettingsError, parse, parse_api_keys

LEAST = {"cluster": "c-1", "queue": "pool", "nats_url": "nats://127.0.0.1:4222"}


def test_what_is_left_out_has_a_default_and_what_is_unknown_is_ignored() -> None:
    settings = parse(json.dumps(LEAST | {"later": 1}))
    assert (settings.actors, settings.slots, settings.count, settings.drain_ms) == (1, 64, None, 2000)


def test_credentials_are_a_user_with_a_password_or_a_token_and_are_not_shown() -> None:
    user = parse(json.dumps(LEAST | {"nats_credentials": {"user": "u", "password": "secret"}}))
    assert user.nats_credentials == Credentials(user="u", password="secret")
    token = parse(json.dumps(LEAST | {"nats_credentials": {"token": "secret"}}))
    assert token.nats_credentials == Credentials(token="secret")
    assert "secret" not in repr(user) + repr(token)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"cluster": "C"}, "cluster"),
        ({"queue": "a.b"}, "queue"),
        ({"nats_url": ""}, "nats_url"),
        ({"slots": 0}, "slots"),
        ({"actors": True}, "actors"),
        ({"actor_cpus": "1"}, "actor_cpus"),
        ({"actor_resources": {"A100": -1}}, "actor_resources.A100"),
        ({"nats_credentials": {"user": "u"}}, "nats_credentials"),
        ({"nats_tls_ca": ""}, "nats_tls_ca"),
        ({"count": 0}, "count"),
        ({"ray": 1}, "ray"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, object], key: str) -> None:
    with pytest.raises(SettingsError, match=f"`{key}` must"):
        parse(json.dumps(LEAST | change))


def test_keys_are_by_origin_and_are_not_shown_when_they_are_wrong() -> None:
    assert parse_api_keys("") == {}
    assert parse_api_keys('{"http://h:8000": "sk-1"}') == {"http://h:8000": "sk-1"}
    for wrong in ('{"http://h": "sk-secret"', '["sk-secret"]', '{"http://h": ["sk-secret"]}'):
        with pytest.raises(SettingsError) as error:
            parse_api_keys(wrong)
        assert "secret" not in str(error.value)


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conclave_executor", *arguments]
    variables = os.environ | environment
    return subprocess.run(command, env=variables, cwd=PACKAGE, capture_output=True, text=True, timeout=30, check=False)


def test_wrong_settings_end_the_executor_with_a_sentence_and_no_secret() -> None:
    ended = run({"CONCLAVE_EXECUTOR": '{"nats_credentials": {"token": "secret", "x": tru'})
    assert ended.returncode == 2
    assert ended.stderr == "conclave-executor: the settings in CONCLAVE_EXECUTOR are not usable: they are not JSON\n"
    assert run({}, "--loca").returncode == 2
    keys = run({"CONCLAVE_EXECUTOR": json.dumps(LEAST), "CONCLAVE_MODEL_API_KEYS": "sk-secret"}, "--local")
    assert keys.returncode == 2
    assert keys.stderr == "conclave-executor: CONCLAVE_MODEL_API_KEYS is not JSON\n"
