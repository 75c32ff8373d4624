import pytest

from deploy.local.databases import database_url

ADMIN = "postgresql://harbour:secret@db.example:5432/postgres?sslmode=require"


class TestDatabaseUrl:
    def test_names_another_database_and_keeps_the_rest(self) -> None:
        url = database_url(ADMIN, database="orders")

        assert url == "postgresql://harbour:secret@db.example:5432/orders?sslmode=require"

    @pytest.mark.parametrize(
        ("password", "written"),
        [
            pytest.param("plain", "plain", id="nothing to escape"),
            pytest.param("p@ss/w:rd", "p%40ss%2Fw%3Ard", id="what separates the parts of a URL"),
        ],
    )
    def test_puts_a_role_in_the_place_of_the_administrator(self, password: str, written: str) -> None:
        url = database_url(ADMIN, database="orders", role="orders", password=password)

        assert url == f"postgresql://orders:{written}@db.example:5432/orders?sslmode=require"

    def test_gives_a_role_to_an_address_without_one(self) -> None:
        url = database_url("postgresql://localhost/postgres", database="orders", role="orders")

        assert url == "postgresql://orders:@localhost/orders"
