"""Who may enter a server: a name and a secret, the secret never shown."""

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Login:
    """A user of a server, or an access key and its secret."""

    user: str
    secret: str = field(repr=False)


def new_login(user: str) -> Login:
    """Return a login with a fresh secret that needs no quoting in an address."""
    return Login(user, secrets.token_hex(16))
