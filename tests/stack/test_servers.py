"""Each embedded server starts, answers in its own protocol, and needs its password."""

from __future__ import annotations

import uuid

import psycopg
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from millwright.stack import bootstrap, postgres
from millwright.stack.kafka import Kafka
from millwright.stack.postgres import Postgres
from millwright.stack.redis import Valkey, check
from tests import servers


def test_postgres_answers_with_its_version(postgres_server: Postgres) -> None:
    assert postgres_server.check().startswith("18.")


def test_postgres_has_room_for_dagster_and_the_platform(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        assert int(connection.execute("SHOW max_connections").fetchone()[0]) >= 200
        assert connection.execute("SHOW timezone").fetchone()[0] == "UTC"


def test_postgres_refuses_a_wrong_password(postgres_server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.check(postgres_server.url(password="wrong"))


def test_roles_log_in_to_a_fresh_database(empty_database: str) -> None:
    with psycopg.connect(servers.as_role(empty_database, bootstrap.OWNER)) as connection:
        connection.execute("CREATE SCHEMA landing")
        assert connection.execute("SELECT current_user").fetchone() == (bootstrap.OWNER,)


def test_valkey_answers_with_its_version(redis_server: Valkey) -> None:
    assert redis_server.check().startswith("9.")


def test_valkey_needs_its_password_and_never_evicts(redis_server: Valkey, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.dbsize() == 0
    with pytest.raises(redis.AuthenticationError):
        check(f"redis://127.0.0.1:{redis_server.port}")


def test_secrets_are_not_in_arguments_and_files_are_private(redis_server: Valkey) -> None:
    assert redis_server.password not in redis_server.command
    assert redis_server.configuration.stat().st_mode & 0o077 == 0


@pytest.mark.kafka
@pytest.mark.xdist_group("kafka")
def test_kafka_answers_takes_a_message_and_makes_no_topic_by_itself(kafka_server: Kafka) -> None:
    assert kafka_server.check() == "4.3.1"
    topic = f"t-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": kafka_server.bootstrap})
    admin.create_topics([NewTopic(topic, 2)])[topic].result(10)
    producer = Producer({"bootstrap.servers": kafka_server.bootstrap})
    reports: list[object] = []
    producer.produce(topic, b"{}", on_delivery=lambda error, message: reports.append(error))
    assert producer.flush(20) == 0
    assert reports == [None]
    admin.list_topics("no-such-topic", timeout=5)
    assert topic in admin.list_topics(timeout=5).topics
    assert "no-such-topic" not in admin.list_topics(timeout=5).topics
