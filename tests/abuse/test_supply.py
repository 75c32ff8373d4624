"""What the repository and its lock bring with them: secrets that were committed, and known faults (G5)."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

from libs.common.http.keys import issue_key
from tests.abuse.effort import Effort
from tests.support.infrastructure import REPOSITORY

# Those that know the form of a secret. What only measures entropy cries over hashes of the lock.
DETECTORS: Final = (
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TwilioKeyDetector",
)
OWN_KEYS: Final = f"file://{Path(__file__).with_name('own_keys.py')}"
# The first line of a key, with nothing behind it, that has to be refused.
NO_SECRETS: Final = {"tests/integration/orders/test_alipay.py: Private Key"}
AUDIT_SECONDS_MAX: Final = 300
# What pip-audit says of a package when its index does not answer.
UNANSWERED: Final = "could not be audited"


def scan(files: list[str]) -> list[str]:
    """Return where secrets were found, and of which kind."""
    found = SecretsCollection()
    plugins = [*({"name": name} for name in DETECTORS), {"name": "OwnKeyDetector", "path": OWN_KEYS}]
    with transient_settings({"plugins_used": plugins, "filters_used": []}):
        for file in files:
            found.scan_file(file)
    return [f"{file}:{secret.line_number}: {secret.type}" for file, secret in found]


class TestSecrets:
    def test_were_not_committed(self, effort: Effort) -> None:
        if not effort.is_thorough:
            pytest.skip("reads the whole repository: only `make abuse` does")
        listed = subprocess.run(
            ["git", "ls-files", "-z"],  # noqa: S607 - found on PATH
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
        )
        if listed.returncode:
            pytest.skip("this is no checkout of the repository")
        files = [str(REPOSITORY / name.decode()) for name in listed.stdout.split(b"\0") if name]

        assert len(files) > 100
        found = {re.sub(r":\d+:", ":", one.removeprefix(f"{REPOSITORY}/")) for one in scan(files)}
        assert found - NO_SECRETS == set()

    def test_are_found_if_they_were(self, tmp_path: Path) -> None:
        key = issue_key(tmp_path / "keys.json", name="ops", scopes=("*",))
        leaks = {
            "key.py": f'KEY = "{key}"\n',
            "private.pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n",
            "stripe.env": "STRIPE=" + "sk_" + "live_" + "a1B2" * 6 + "\n",
        }
        for name, text in leaks.items():
            (tmp_path / name).write_text(text, "utf-8")

        found = scan([str(tmp_path / name) for name in leaks])

        assert sorted(Path(one.partition(":")[0]).name for one in found) == sorted(leaks)


class TestLock:
    def test_holds_no_package_with_a_known_fault(self, effort: Effort) -> None:
        if not effort.is_thorough:
            pytest.skip("asks the package index: only `make abuse` does")
        try:
            audit = subprocess.run(
                [
                    *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"),
                    *("--requirement", str(REPOSITORY / "requirements" / "services.txt")),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=AUDIT_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            pytest.skip("the package index does not answer")
        output = audit.stdout + audit.stderr
        if UNANSWERED in output or "ConnectionError" in output or "ServiceError" in output:
            pytest.skip("the package index knows nothing of faults: not audited")

        assert audit.returncode == 0, output[-3000:]
