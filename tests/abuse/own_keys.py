"""Our own keys among the secrets that are looked for; loaded by detect-secrets."""

import re
from collections.abc import Generator

from detect_secrets.plugins.base import RegexBasedDetector


class OwnKeyDetector(RegexBasedDetector):
    """Finds API keys and webhook secrets as this product issues them."""

    secret_type = "Quayside key"
    denylist = (
        re.compile(r"qk_[a-z0-9-]+_[0-9A-Za-z]{8}_[0-9A-Za-z]{27}_[0-9A-Za-z]{6}"),
        re.compile(r"whsec_[A-Za-z0-9+/]{40,}={0,2}"),
    )

    def analyze_string(self, string: str) -> Generator[str, None, None]:
        """Yield what looks like a key."""
        yield from super().analyze_string(string)
