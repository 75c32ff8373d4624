from pathlib import Path

from deploy.local.keys import SCOPES, mint_keys
from libs.common.http.keys import KeyStore, read_keys, set_scopes


class TestMintKeys:
    def test_makes_a_private_key_for_each_kind_of_caller(self, tmp_path: Path) -> None:
        hashes = mint_keys(tmp_path / "keys")

        scopes = {stored.name: tuple(stored.scopes) for stored in read_keys(hashes).values()}
        assert scopes == SCOPES
        for name in SCOPES:
            file = hashes.with_name(name)
            assert file.stat().st_mode & 0o777 == 0o600
            assert file.read_text() == file.read_text().strip()

    def test_keeps_the_keys_of_an_earlier_start(self, tmp_path: Path) -> None:
        first = mint_keys(tmp_path / "keys").with_name("storefront").read_text()

        second = mint_keys(tmp_path / "keys").with_name("storefront").read_text()

        assert second == first

    def test_lets_the_keys_of_an_earlier_version_do_what_this_version_allows(self, tmp_path: Path) -> None:
        hashes = mint_keys(tmp_path / "keys")
        key = hashes.with_name("storefront").read_text()
        set_scopes(hashes, name="storefront", scopes=["orders:write"])

        mint_keys(tmp_path / "keys")

        assert KeyStore(hashes).authenticate(key).scopes == set(SCOPES["storefront"])
